"""Status callbacks on the wire: fields, signature, fragment, retries and faults."""

from __future__ import annotations

import pytest
from aiohttp import web

from channels.twilio.simulator.hooks import overrides_of
from tests.channels.twilio.simulator.support import SENDER, US, Start, Webhook, faults, until


async def test_the_form_and_its_signature_are_twilios(start: Start, webhook: Webhook) -> None:
    api = await start()
    url = f"{webhook.url}/twilio/status?n=shop.order-1&a=1&t=x%2By#rc=5&rp=all"
    answer = await api.text(StatusCallback=url)
    sent, delivered = await webhook.first(2)
    sid = answer.json["sid"]
    assert sent.path_qs == "/twilio/status?n=shop.order-1&a=1&t=x%2By"
    assert sent.fields == {
        "AccountSid": api.simulator.settings.account_sid,
        "ApiVersion": "2010-04-01",
        "MessageSid": sid,
        "SmsSid": sid,
        "MessageStatus": "sent",
        "SmsStatus": "sent",
        "From": SENDER,
        "To": US,
    }
    assert delivered.fields["RawDlrDoneDate"].isdigit()
    assert webhook.is_signed(sent, api.simulator.settings.auth_token)
    assert not webhook.is_signed(sent, "another token")
    assert sent.headers["I-Twilio-Idempotency-Token"] != delivered.headers["I-Twilio-Idempotency-Token"]
    assert sent.headers["User-Agent"] == "TwilioProxy/1.1"


@pytest.mark.parametrize(
    ("fragment", "refusals", "tries"),
    [
        ("", [503], 1),  # by default only a failed connection is tried again
        ("#rc=3&rp=all", [503, 404, 500], 4),
        ("#rc=1&rp=all", [503, 503], 2),
        ("#rc=5&rp=5xx", [503, 404], 2),
        ("#rc=2&rp=4xx,5xx", [404, 503], 3),
        ("#rc=9&rp=all", [503, 503], 2),  # out of range: the default, one retry
    ],
)
async def test_retries_as_the_fragment_says(
    start: Start, webhook: Webhook, fragment: str, refusals: list[int], tries: int
) -> None:
    webhook.answers = [web.Response(status=status) for status in refusals]
    api = await start(faults={"outcomes": {US: "sent"}})
    await api.text(StatusCallback=webhook.url + fragment)
    hooks = await webhook.first(tries)
    await until(lambda: api.simulator.pending_callbacks == 0)
    assert len(webhook.hooks) == tries
    assert len({hook.headers["I-Twilio-Idempotency-Token"] for hook in hooks}) == 1


async def test_a_webhook_that_comes_back_gets_what_it_missed(start: Start) -> None:
    api = await start(faults={"outcomes": {US: "sent"}}, retry_pause=0.05)
    async with Webhook() as gone:
        url = gone.url
    await api.text(StatusCallback=f"{url}#rc=5")
    await until(lambda: api.simulator.stats()["counts"].get("callbacks_retried", 0) >= 5)
    await until(lambda: api.simulator.pending_callbacks == 0)
    assert api.simulator.stats()["counts"]["callbacks_failed_ct"] == 1


async def test_a_read_timeout_is_no_reason_to_retry_by_default(start: Start) -> None:
    async def never(_request: web.BaseRequest) -> web.Response:
        await until(lambda: False)
        return web.Response()

    runner = web.ServerRunner(web.Server(never), shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api = await start(faults={"outcomes": {US: "sent"}})
    await api.text(StatusCallback=f"http://127.0.0.1:{runner.addresses[0][1]}/#rt=100")
    await until(lambda: api.simulator.stats()["counts"].get("callbacks_failed_rt") == 1)
    assert "callbacks_retried" not in api.simulator.stats()["counts"]
    await runner.cleanup()


def test_what_a_fragment_cannot_mean_keeps_its_default() -> None:
    assert overrides_of("rc=x&rp=never&ct=1&rt=99999&tt=") == overrides_of("rp=")
    assert overrides_of("").retry_on == {"ct"}
    assert overrides_of("rc=3&rp=all&ct=2000&rt=5000&tt=9000").timeout.sock_read == 5.0


async def test_lost_callbacks_never_arrive(start: Start, webhook: Webhook) -> None:
    api = await start(faults={"callbacks_lost": 1})
    await api.text(StatusCallback=webhook.url)
    api.simulator.skip(60)
    assert api.simulator.messages[0].status == "delivered"
    assert api.simulator.stats()["counts"]["callbacks_lost"] == 2
    assert api.simulator.pending_callbacks == 0


async def test_repeated_callbacks_are_the_same_twice(start: Start, webhook: Webhook) -> None:
    api = await start(faults={"callbacks_repeated": 1})
    await api.text(StatusCallback=webhook.url)
    hooks = await webhook.first(4)
    assert [hook.status for hook in hooks] == ["sent", "sent", "delivered", "delivered"]
    assert len({hook.headers["I-Twilio-Idempotency-Token"] for hook in hooks}) == 2


async def test_a_reordered_callback_is_overtaken(start: Start, webhook: Webhook) -> None:
    api = await start(faults={"callbacks_reordered": 1, "reorder_seconds": 3600})
    await api.text(StatusCallback=webhook.url)
    await until(lambda: api.simulator.stats()["counts"].get("callbacks_reordered") == 2)
    api.simulator.switch_faults(faults())
    await api.text(StatusCallback=webhook.url)
    assert await webhook.statuses(2) == ["sent", "delivered"]
    api.simulator.skip(3600)
    hooks = await webhook.first(4)
    assert {hook.fields["MessageSid"] for hook in hooks[2:]} == {api.simulator.messages[0].sid}


async def test_what_is_pending_survives_an_outage_of_the_simulator(start: Start, webhook: Webhook) -> None:
    api = await start(faults={"callbacks_reordered": 1, "reorder_seconds": 3600, "outcomes": {US: "sent"}})
    await api.text(StatusCallback=webhook.url)
    await until(lambda: api.simulator.pending_callbacks == 1)
    await api.simulator.stop()
    await api.simulator.start()
    api.simulator.skip(3600)
    assert await webhook.statuses(1) == ["sent"]

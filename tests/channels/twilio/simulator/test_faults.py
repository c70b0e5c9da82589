"""Each fault: what the caller sees, and what was accepted behind it."""

from __future__ import annotations

import json

import aiohttp
import pytest
from pydantic import ValidationError

from channels.twilio.simulator import Delays
from tests.channels.twilio.simulator.support import SENDER, US, WA_RECIPIENT, Api, Start, faults, until


async def outcome(api: Api, to: str = US) -> int | str:
    """The HTTP status, or how the connection ended."""
    try:
        return (await api.text(to)).status
    except aiohttp.ServerDisconnectedError:
        return "dropped"


@pytest.mark.parametrize(
    ("fault", "seen", "accepted"),
    [
        ("throttle", 429, 0),
        ("error_before", 503, 0),
        ("drop_before", "dropped", 0),
        ("error_after", 500, 1),
        ("accept_no_answer", "dropped", 1),
        ("accept_drop", "dropped", 1),
    ],
)
async def test_each_kind_by_share_and_by_script(start: Start, fault: str, seen: int | str, accepted: int) -> None:
    by_share = await start(faults={fault: 1, "hang_seconds": 0.01})
    assert (await outcome(by_share), by_share.simulator.accepted) == (seen, accepted)
    by_script = await start(faults={"scripts": {US: [fault, "ok"]}, "hang_seconds": 0.01})
    assert [await outcome(by_script) for _ in range(3)] == [seen, 201, 201]
    assert by_script.simulator.accepted == accepted + 2
    assert by_script.simulator.stats()["counts"][f"fault_{fault}"] == 1


async def test_no_answer_means_none_until_the_simulator_lets_go(start: Start) -> None:
    api = await start(faults={"accept_no_answer": 1, "hang_seconds": 3600})
    with pytest.raises(TimeoutError):
        await api.request(
            "POST",
            f"{api.account}/Messages.json",
            data={"To": US, "From": SENDER, "Body": "hi"},
            timeout=aiohttp.ClientTimeout(total=0.2),
        )
    assert api.simulator.accepted == 1


async def test_a_throttled_answer_says_when_to_come_back(start: Start) -> None:
    api = await start(faults={"throttle": 1, "retry_after": 7})
    answer = await api.text()
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (429, 20429, "7")
    api.simulator.switch_faults(faults(throttle=1, retry_after=None))
    assert "Retry-After" not in (await api.text()).headers


async def test_shares_are_shares(start: Start) -> None:
    api = await start(faults={"throttle": 0.25, "error_before": 0.25})
    seen = [await outcome(api) for _ in range(200)]
    assert 25 < seen.count(429) < 75
    assert 25 < seen.count(503) < 75
    assert seen.count(201) == api.simulator.accepted


async def test_reads_are_spared_unless_asked_for(start: Start) -> None:
    api = await start(faults={"throttle": 1})
    assert (await api.request("GET", f"{api.account}/Messages.json")).status == 200
    api.simulator.switch_faults(faults(throttle=1, reads=True))
    assert (await api.request("GET", f"{api.account}/Messages.json")).status == 429


@pytest.mark.parametrize(
    ("word", "statuses", "code"),
    [
        ("failed:30007", ["queued", "failed"], 30007),
        ("undelivered:30003", ["queued", "sent", "undelivered"], 30003),
        ("sent", ["queued", "sent"], None),
        ("delivered", ["queued", "sent", "delivered"], None),
    ],
)
async def test_outcomes_hold_for_every_message_to_a_recipient(
    start: Start, word: str, statuses: list[str], code: int | None
) -> None:
    api = await start(faults={"outcomes": {US: word}})
    for _ in range(2):
        await api.text()
    api.simulator.skip(60)
    seen = [([status for status, _ in message.history], message.error_code) for message in api.simulator.messages]
    assert seen == [(statuses, code)] * 2


async def test_a_script_can_refuse_and_counts_on_whatsapp_too(start: Start) -> None:
    api = await start(faults={"scripts": {WA_RECIPIENT.removeprefix("whatsapp:"): ["refuse:63007", "failed:63003"]}})
    assert (await api.whatsapp(Body="hi")).code == 63007
    assert (await api.whatsapp(Body="hi")).status == 201
    await until(lambda: api.simulator.messages[0].error_code == 63003)


async def test_latency_is_waited_for(start: Start) -> None:
    api = await start(faults={"latency_ms": 3_600_000})
    with pytest.raises(TimeoutError):
        await api.request("GET", f"{api.account}/Messages.json", timeout=aiohttp.ClientTimeout(total=0.1))
    api.simulator.switch_faults(faults(latency_ms=1, jitter_ms=1))
    assert (await api.text()).status == 201


async def test_faults_switch_live_field_by_field(start: Start) -> None:
    api = await start(faults={"retry_after": 3, "scripts": {US: ["throttle", "error_before"]}})
    assert await outcome(api) == 429
    answer = await api.control("faults", {"throttle": 1})
    assert (answer.json["throttle"], answer.json["retry_after"]) == (1, 3)
    assert (await api.control("faults")).json["scripts"] == {US: ["error_before"]}
    assert [await outcome(api) for _ in range(2)] == [503, 429]
    bad = await api.control("faults", {"throttle": 2, "scripts": {US: ["explode"]}, "typo": 1})
    assert bad.status == 400
    assert {error.split(":")[0] for error in bad.json["errors"]} == {"throttle", f"scripts.{US}.0", "typo"}


def test_shares_that_exceed_one_together_are_refused() -> None:
    with pytest.raises(ValidationError, match="exceed 1"):
        faults(throttle=0.6, error_before=0.6)


async def test_a_reset_starts_the_seed_over(start: Start) -> None:
    api = await start(faults={"throttle": 0.5}, delays=Delays())

    async def story() -> str:
        statuses = [await outcome(api) for _ in range(20)]
        return json.dumps([statuses, [message.sid for message in api.simulator.messages]])

    before = await story()
    assert (await api.control("reset", {})).json == {"reset": True}
    assert api.simulator.messages == []
    assert await story() == before

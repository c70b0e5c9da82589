"""The real SDK against the simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client

from channels.twilio.simulator import ContentTemplate, Delays, Simulator
from tests.channels.twilio.simulator.support import SENDER, TEMPLATE, US, sdk, settings

#: The SDK's own HTTP client uses what aiohttp will remove one day.
pytestmark = [
    pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated:DeprecationWarning"),
]

KEY_SID = "SK" + "c" * 32


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    template = ContentTemplate(sid=TEMPLATE, name="order", text="Order {{1}}", variables={"1": "?"})
    slow = settings(delays=Delays(sent=60, jitter=0), templates=(template,), api_keys={KEY_SID: "key-secret"})
    async with Simulator(slow) as running:
        yield running


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[Client]:
    async with AsyncTwilioHttpClient() as http_client:
        yield sdk(simulator, http_client)


async def test_creates_and_fetches_with_every_field_of_the_resource(client: Client, simulator: Simulator) -> None:
    created = await client.messages.create_async(to=US, from_=SENDER, body="hello")
    fetched = await client.messages(created.sid).fetch_async()
    account = simulator.settings.account_sid
    uri = f"/2010-04-01/Accounts/{account}/Messages/{created.sid}"
    assert vars(fetched) | {"_version": None, "_context": None, "date_created": None, "date_updated": None} == {
        "_version": None,
        "_context": None,
        "_solution": {"account_sid": account, "sid": created.sid},
        "body": "hello",
        "num_segments": "1",
        "direction": "outbound-api",
        "from_": SENDER,
        "to": US,
        "date_created": None,
        "date_updated": None,
        "date_sent": None,
        "price": None,
        "error_message": None,
        "uri": f"{uri}.json",
        "account_sid": account,
        "num_media": "0",
        "status": "queued",
        "messaging_service_sid": None,
        "sid": created.sid,
        "error_code": None,
        "price_unit": "USD",
        "api_version": "2010-04-01",
        "subresource_uris": {"media": f"{uri}/Media.json"},
    }
    assert fetched.date_created == datetime.fromtimestamp(int(simulator.messages[0].created), UTC)
    assert created.sid.startswith("SM")
    assert len(created.sid) == 34


async def test_lists_newest_first_over_pages(client: Client) -> None:
    sids = [(await client.messages.create_async(to=US, from_=SENDER, body=f"{n}")).sid for n in range(5)]
    await client.messages.create_async(to="+15551230002", from_=SENDER, body="another")
    listed = await client.messages.list_async(to=US, page_size=2)
    assert [message.sid for message in listed] == sids[::-1]


async def test_a_date_filter_leaves_out_what_is_not_sent_yet(client: Client, simulator: Simulator) -> None:
    day = datetime.fromtimestamp(simulator.now(), UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    sent = await client.messages.create_async(to=US, from_=SENDER, body="sent")
    simulator.skip(60)
    await client.messages.create_async(to=US, from_=SENDER, body="queued")
    found = await client.messages.list_async(to=US, date_sent_after=day)
    assert [message.sid for message in found] == [sent.sid]
    assert await client.messages.list_async(to=US, date_sent_before=datetime(2020, 1, 1, tzinfo=UTC)) == []


async def test_cancels_what_is_queued_and_nothing_later(client: Client, simulator: Simulator) -> None:
    early = await client.messages.create_async(to=US, from_=SENDER, body="early")
    assert (await client.messages(early.sid).update_async(status="canceled")).status == "canceled"
    simulator.skip(3600)
    assert (await client.messages(early.sid).fetch_async()).status == "canceled"
    late = await client.messages.create_async(to=US, from_=SENDER, body="late")
    simulator.skip(60)
    with pytest.raises(TwilioRestException) as refused:
        await client.messages(late.sid).update_async(status="canceled")
    assert (refused.value.status, refused.value.code) == (409, 30409)


async def test_redacts_and_deletes(client: Client, simulator: Simulator) -> None:
    message = await client.messages.create_async(to=US, from_=SENDER, body="secret")
    with pytest.raises(TwilioRestException) as refused:
        await client.messages(message.sid).update_async(body="")
    assert refused.value.code == 30409
    simulator.skip(3600)
    assert (await client.messages(message.sid).update_async(body="")).body == ""
    assert await client.messages(message.sid).delete_async()
    with pytest.raises(TwilioRestException) as gone:
        await client.messages(message.sid).fetch_async()
    assert (gone.value.status, gone.value.code) == (404, 20404)


async def test_errors_carry_twilios_code(client: Client) -> None:
    with pytest.raises(TwilioRestException) as refused:
        await client.messages.create_async(to="no number", from_=SENDER, body="hi")
    assert (refused.value.status, refused.value.code) == (400, 21211)


async def test_an_api_key_is_let_in_and_a_wrong_token_is_not(simulator: Simulator) -> None:
    account = simulator.settings.account_sid
    async with AsyncTwilioHttpClient() as http_client:
        with_key = Client(KEY_SID, "key-secret", account, http_client=http_client)
        with_key.api.base_url = simulator.base_url
        assert (await with_key.messages.create_async(to=US, from_=SENDER, body="hi")).status == "queued"
        wrong = Client(account, "wrong", http_client=http_client)
        wrong.api.base_url = simulator.base_url
        with pytest.raises(TwilioRestException) as refused:
            await wrong.messages.create_async(to=US, from_=SENDER, body="hi")
    assert (refused.value.status, refused.value.code) == (401, 20003)
    assert simulator.accepted == 1


async def test_the_content_api_shows_templates_and_their_approval(client: Client, simulator: Simulator) -> None:
    content = await client.content.v1.contents(TEMPLATE).fetch_async()
    assert (content.friendly_name, content.language, content.variables) == ("order", "en", {"1": "?"})
    assert content.types == {"twilio/text": {"body": "Order {{1}}"}}
    paused = ContentTemplate(sid=TEMPLATE, name="order", text="Order {{1}}", category="MARKETING", status="paused")
    simulator.set_template(paused)
    approval = await client.content.v1.contents(TEMPLATE).approval_fetch().fetch_async()
    assert (approval.whatsapp["status"], approval.whatsapp["category"]) == ("paused", "MARKETING")
    [listed] = await client.content.v1.content_and_approvals.list_async()
    assert (listed.sid, listed.approval_requests["status"]) == (TEMPLATE, "paused")
    with pytest.raises(TwilioException):
        await client.content.v1.contents("HX" + "d" * 32).fetch_async()


async def test_the_account_is_active(client: Client, simulator: Simulator) -> None:
    account = await client.api.v2010.accounts(simulator.settings.account_sid).fetch_async()
    assert (account.sid, account.status) == (simulator.settings.account_sid, "active")

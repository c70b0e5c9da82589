"""The shipped NATS configuration, started for real: everybody can do their work, and nobody anybody else's."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from channels.testing import until
from channels.twilio.simulator import NO_DELAYS, Simulator, SimulatorSettings
from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
from policies.pauses import Kind
from router.app import Router
from router.client import AnswerError, DeliveryEvent, Pointsman, PointsmanError
from router.clock import utc_now
from router.jetstream import JetStream
from router.permissions import API
from router.published import Publications
from router.settings import Settings
from router.switches import Switch, Switches
from tests.integration.harness import US, US_SENDER, ReservedPort, router_settings
from tests.integration.secured import DEPLOY, SecuredNats

pytestmark = pytest.mark.nats


@pytest.fixture
async def server() -> AsyncIterator[SecuredNats]:
    """The server, with a whole Pointsman behind it that has what the shipped permissions give it."""
    async with SecuredNats() as secured, Simulator(SimulatorSettings(seed=1, delays=NO_DELAYS)) as simulator:
        port = ReservedPort()
        environ = {
            "TWILIO_ACCOUNT_SID": DEMO_ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": DEMO_AUTH_TOKEN,
            "TWILIO_API_BASE_URL": simulator.base_url,
        }
        given = router_settings(secured.url, port.number)
        router = Router(Settings(**{**given, "nats": secured.settings("router")}), environ)
        try:
            await router.start()
            yield secured
        finally:
            await router.stop()
            port.close()


def as_service(server: SecuredNats, source: str) -> Any:
    """The client of a service, over TLS and with its key."""
    return Pointsman.connect(server.url, source=source, timeout=2, api=API, **server.options(source))


async def final_event(pointsman: Pointsman, identity: str) -> DeliveryEvent:
    async with (
        asyncio.timeout(20),
        aclosing(pointsman.deliveries(f"{pointsman.source}_events")) as events,
    ):
        async for event in events:
            if event.final and event.notification_id == identity:
                return event
    raise AssertionError("the loop ended")


async def test_a_service_publishes_reads_asks_and_takes_back_its_own(server: SecuredNats) -> None:
    async with as_service(server, "shop") as shop:
        await shop.publish({"id": "a1", "to": US, "content": {"text": "hello"}})
        assert (await final_event(shop, "a1")).status == "delivered"
        assert (await shop.trace("a1"))[0].status == "routed"
        assert (await shop.explain({"id": "x", "to": US, "content": {"text": "hello"}})).outcome == "routed"
        assert (await shop.cancel("a1")).in_time is False


async def test_a_name_that_is_not_permitted_is_told_with_the_likely_cause(server: SecuredNats) -> None:
    async with as_service(server, "shop") as shop:
        with pytest.raises(PointsmanError, match=r"may this user read DELIVERIES by this name.*shop_events"):
            await anext(shop.deliveries("shop-orders"))
        with pytest.raises(PointsmanError, match="may this user read INBOUND by this name"):
            await anext(shop.inbound("shop_events"))


async def test_a_service_reads_what_recipients_write_where_it_may(server: SecuredNats) -> None:
    router = await server.connect("router")
    written = {"from": US, "to": US_SENDER, "channel": "sms", "sender": "us", "text": "hello", "message_id": "SM1"}
    none = ("button", "location", "profile_name", "keyword", "session_expires_at")
    event: dict[str, Any] = {
        **written,
        **dict.fromkeys(none),
        "media": [],
        "raw": {},
        "received_at": "2026-11-20T12:00:00Z",
    }
    await router.request("inbound.sms.us", json.dumps(event).encode(), timeout=30)
    async with as_service(server, "crm") as crm, asyncio.timeout(20), aclosing(crm.inbound("crm_events")) as messages:
        assert (await anext(messages)).text == "hello"
    assert server.refused == []


async def test_what_needs_schedules_and_buckets_works_under_the_routers_own_permissions(server: SecuredNats) -> None:
    operator = await server.connect("operator")
    async with as_service(server, "shop") as shop:
        stop = {"recipient": "+12025550199", "state": "opted_out", "proof": "letter of 2026-11-01"}
        reply = await operator.request("pointsman.consent.set", json.dumps(stop).encode(), timeout=30)
        assert b"error" not in reply.data
        send_at = (utc_now() + timedelta(days=7)).isoformat()
        later = {"id": "a2", "to": US, "content": {"text": "hello"}, "send_at": send_at}
        await shop.publish(later)
        async with aclosing(shop.deliveries("shop_events", notification_id="*")) as events:
            assert (await anext(events)).status == "deferred"
        assert (await shop.cancel("a2")).in_time is True
    assert server.refused == []


async def test_an_operator_pauses_and_publishes_policies(server: SecuredNats) -> None:
    js = JetStream(await server.connect("operator"), timeout=10)
    await js.start()
    switch = Switch(Kind.CATEGORY, "marketing", utc_now())
    await Switches(js, "").throw(switch)
    assert [each.name for each in await Switches(js, "").all()] == ["marketing"]
    assert await Switches(js, "").lift(Kind.CATEGORY, "marketing")
    await Publications(js, "").publish("nobody reads it here", "1", utc_now())
    assert [each.number for each in await Publications(js, "").history()] == [1]
    await js.stop()
    assert server.refused == []


async def test_the_stories_of_others_are_not_told(server: SecuredNats) -> None:
    async with as_service(server, "shop") as shop, as_service(server, "crm") as crm:
        await crm.publish({"id": "c1", "to": US, "content": {"text": "private"}})
        await final_event(crm, "c1")
        with pytest.raises(AnswerError):
            await shop.trace("c1")


#: Who is given what recipients write, as it is shipped.
INBOUND = ["--inbound", "crm:*.*"]
#: What `shop` may not publish: (subject, body).
FORBIDDEN = [
    ("notifications.normal.crm", b"{}"),
    ("deliveries.shop.delivered.sms.a1", b"{}"),
    ("deliveries.crm.delivered.sms.c1", b"{}"),
    ("outbox.us.urgent.shop.a1", b"{}"),
    ("timers.defer.shop.a1", b""),
    ("wake.defer.shop.a1", b""),
    ("inbound.sms.us", b"{}"),
    ("deadletters.intake.shop", b"{}"),
    ("$KV.consent.x", b"{}"),
    ("$KV.sessions.x", b"{}"),
    ("$KV.senders.lease.us", b"{}"),
    ("pointsman.trace", b'{"source": "crm", "id": "c1"}'),
    ("pointsman.trace.crm", b'{"id": "c1"}'),
    ("pointsman.cancel.crm", b'{"id": "c1"}'),
    ("pointsman.consent.get", b"{}"),
    ("pointsman.consent.set", b"{}"),
    ("pointsman.deadletters.list", b"{}"),
    ("$JS.API.STREAM.INFO.OUTBOX", b""),
    ("$JS.API.STREAM.DELETE.DELIVERIES", b""),
    ("$JS.API.STREAM.PURGE.DELIVERIES", b""),
    ("$JS.API.STREAM.MSG.GET.DELIVERIES", b'{"seq": 1}'),
    ("$JS.API.DIRECT.GET.DELIVERIES", b'{"seq": 1}'),
    ("$JS.API.DIRECT.GET.DELIVERIES.deliveries.crm.routed.sms.c1", b""),
    ("$JS.API.DIRECT.GET.OUTBOX", b'{"seq": 1}'),
    ("$JS.API.DIRECT.GET.KV_consent", b'{"seq": 1}'),
    ("$JS.API.CONSUMER.CREATE.DELIVERIES", b"{}"),
    ("$JS.API.CONSUMER.CREATE.DELIVERIES.shop_events.deliveries.crm.>", b"{}"),
    ("$JS.API.CONSUMER.CREATE.DELIVERIES.follow-up.deliveries.shop.>", b"{}"),
    ("$JS.API.CONSUMER.MSG.NEXT.DELIVERIES.crm_events", b"{}"),
    ("$JS.API.CONSUMER.MSG.NEXT.DELIVERIES.follow-up", b"{}"),
    ("$JS.API.CONSUMER.MSG.NEXT.OUTBOX.dispatch-us-normal", b"{}"),
    ("$JS.API.CONSUMER.DELETE.DELIVERIES.follow-up", b""),
    (f"{API}.CONSUMER.CREATE.DELIVERIES.shop_events.deliveries.crm.>", b"{}"),
    (f"{API}.CONSUMER.MSG.NEXT.DELIVERIES.crm_events", b"{}"),
    (f"{API}.STREAM.INFO.OUTBOX", b""),
    (f"{API}.CONSUMER.CREATE.INBOUND.shop_events.inbound.*.*", b"{}"),
    (f"{API}.CONSUMER.MSG.NEXT.INBOUND.crm_events", b"{}"),
    ("$JS.API.DIRECT.GET.INBOUND", b'{"seq": 1}'),
]
#: Where it may not write, and would if an answer to what it may publish went there.
WRITTEN_BY_OTHERS = [
    "deliveries.crm.delivered.sms.c1",
    "outbox.us.urgent.crm.c1",
    "timers.defer.crm.c1",
    "notifications.urgent.crm",
    "inbound.sms.us",
    "deadletters.intake.crm",
    "$KV.senders.lease.crm",
    "$KV.policy.pause.category.otp",
    "$KV.consent.x",
]
#: What gets an answer: from JetStream, from a consumer with a message to hand out, from the router.
ANSWERED = [
    ("notifications.normal.shop", b'{"id": "reply", "to": "+12025550123", "content": {"text": "hello"}}'),
    (f"{API}.CONSUMER.INFO.DELIVERIES.shop_events", b""),
    (f"{API}.CONSUMER.MSG.NEXT.DELIVERIES.shop_events", b'{"batch": 1}'),
    ("pointsman.explain.shop", b"{}"),
    ("pointsman.trace.shop", b'{"id": "a1"}'),
]


async def test_a_service_can_publish_nothing_that_is_not_its_own(server: SecuredNats) -> None:
    shop = await server.connect("shop")
    before = await stored(server)
    for subject, body in FORBIDDEN:
        with pytest.raises((NatsError, TimeoutError)):
            await shop.request(subject, body, timeout=0.05)
    await until(lambda: len(server.refused) >= len(FORBIDDEN))
    said = " ".join(server.refused).lower()
    assert [subject for subject, _ in FORBIDDEN if f'publish to "{subject}"'.lower() not in said] == []
    assert await stored(server) == before


async def test_a_service_can_have_no_answer_written_where_it_may_not_write(server: SecuredNats) -> None:
    """The server holds publishers to their subjects, and nobody to what they name as a reply."""
    async with as_service(server, "shop") as shop:
        await shop.publish({"id": "a1", "to": US, "content": {"text": "hello"}})
        await final_event(shop, "a1")
    client, router = await server.connect("shop"), await server.connect("router")

    for reply in WRITTEN_BY_OTHERS:
        for subject, body in ANSWERED:
            await client.publish(subject, body, reply=reply)
    await client.flush()

    # Each was taken, and what the router answered last was answered: a question that comes after it is.
    await client.request("pointsman.trace.shop", b'{"id": "a1"}', timeout=30)
    async with as_service(server, "shop") as shop:
        await final_event(shop, "reply")
    assert {reply: await messages_on(router, reply) for reply in WRITTEN_BY_OTHERS} == dict.fromkeys(
        WRITTEN_BY_OTHERS, 0
    )
    assert server.refused == []


async def messages_on(router: Client, subject: str) -> int:
    """Messages that any stream has on this subject."""
    names = json.loads((await router.request("$JS.API.STREAM.NAMES", json.dumps({"subject": subject}).encode())).data)
    found = 0
    for name in names["streams"]:
        asked = json.dumps({"subjects_filter": subject}).encode()
        info = json.loads((await router.request(f"$JS.API.STREAM.INFO.{name}", asked)).data)
        found += sum((info["state"].get("subjects") or {}).values())
    return found


@pytest.mark.parametrize("subject", ["deliveries.>", "deliveries.shop.>", "outbox.>", "$KV.>", "_INBOX.>", ">"])
async def test_a_service_can_listen_to_nothing_but_its_own_answers(server: SecuredNats, subject: str) -> None:
    shop = await server.connect("shop")
    await shop.subscribe(subject)
    await until(lambda: any("permissions violation for subscription" in each.lower() for each in server.refused))


async def test_a_consumer_asks_for_what_its_subject_says(server: SecuredNats) -> None:
    """The filter stands in the subject, which permissions see; a request that says something else is refused."""
    shop = await server.connect("shop")
    subject = f"{API}.CONSUMER.CREATE.DELIVERIES.shop_events.deliveries.shop.>"
    for change in ({"filter_subject": "deliveries.crm.>"}, {"filter_subjects": ["deliveries.crm.>"]}):
        config = {"durable_name": "shop_events", "name": "shop_events", "ack_policy": "explicit", **change}
        request = json.dumps({"stream_name": "DELIVERIES", "config": config}).encode()
        answer = json.loads((await shop.request(subject, request, timeout=30)).data)
        assert answer["error"]["code"] == 400


async def test_without_a_key_or_a_certificate_nobody_comes_in(server: SecuredNats) -> None:
    for missing in ("nkeys_seed", "tls"):
        options = {name: value for name, value in server.options("shop").items() if name != missing}
        client = Client()
        with pytest.raises(Exception, match=r".*"):
            await client.connect(server.url, **options, allow_reconnect=False, connect_timeout=2, error_cb=_ignore)


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("router.conf", ["router"]),
        ("operator.conf", ["operator"]),
        ("service-shop.conf", ["service", "shop", *INBOUND]),
        ("service-crm.conf", ["service", "crm", *INBOUND]),
        ("imports-shop.conf", ["imports", "shop", *INBOUND]),
        ("imports-crm.conf", ["imports", "crm", *INBOUND]),
        ("exports.conf", ["exports", "shop", "crm", *INBOUND]),
    ],
)
def test_the_shipped_blocks_are_those_of_the_code(file: str, arguments: list[str]) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "router.permissions", *arguments], capture_output=True, text=True, check=True
    )
    assert (DEPLOY / "permissions" / file).read_text() == made.stdout, "run deploy/nats/write_permissions.sh"


async def stored(server: SecuredNats) -> dict[str, int]:
    """The last sequence of every stream, as an administrator of the account sees it."""
    router = await server.connect("router")
    sequences = {}
    for name in ("NOTIFICATIONS", "OUTBOX", "DELIVERIES", "TIMERS", "INBOUND", "DEADLETTERS", "KV_consent"):
        reply = await router.request(f"$JS.API.STREAM.INFO.{name}", b"", timeout=30)
        sequences[name] = json.loads(reply.data)["state"]["last_seq"]
    return sequences


async def _ignore(_error: Exception) -> None:
    """What it says is what the exception says."""

"""A whole Pointsman under test: a real NATS server, the provider's simulator, routers, and a client that knows only the
contract, watches the streams and checks in the end that every event keeps it.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.client import JetStreamContext as Context
from twilio.request_validator import RequestValidator

from channels.testing import PATIENCE, until
from channels.twilio.simulator import (
    NO_DELAYS,
    Faults,
    Inbound,
    InboundAnswer,
    Simulator,
    SimulatorSettings,
    TwilioMessage,
)
from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
from router import topology
from router.app import Router
from router.embedded import EmbeddedNats
from router.settings import Settings
from tests.integration.promises import check_promises

US, US_2, JM, IN = "+12025550123", "+12025550124", "+18765550100", "+919812345678"
US_SENDER, UK_SENDER, WA_SENDER = "+15017122661", "+447700900000", "+14155238886"
WHATSAPP = "whatsapp:"
ORDER_SHIPPED = "HX" + "0" * 31 + "1"
#: Answered by the provider with 21211 whatever is sent there.
INVALID = "+15005550001"

SENDERS: list[dict[str, Any]] = [
    {
        "name": "us",
        "kind": "10dlc",
        "channels": ["sms", "mms"],
        "from": US_SENDER,
        "countries": ["US", "CA"],
        "rate": 500,
    },
    {"name": "uk", "kind": "long-code", "channels": ["sms"], "from": UK_SENDER, "rate": 500},
    {"name": "wa", "kind": "whatsapp", "channels": ["whatsapp"], "from": WA_SENDER, "rate": 500},
]
SECTIONS: dict[str, dict[str, Any]] = {
    "dispatch": {"ack_wait": 2, "timeout": 3, "lease": 2, "drain": 5},
    "retry": {"base": 0.05, "cap": 0.2},
    "nats": {"timeout": 1},
}
TEMPLATES = {"order_shipped": {"en": ORDER_SHIPPED}}
#: Consumers that settle what they take at once; the others hold on to messages until their time comes.
PROMPT = (topology.INTAKE, topology.WAKE, topology.SEARCH, topology.FOLLOW_UP, "dispatch-")
#: Streams that the outside client watches.
WATCHED = ("deliveries.>", "inbound.>", "deadletters.>")


class ReservedPort:
    """A loopback port that is ours until it is closed: the signed address is configured before it is listened on.

    It is bound and never listened on, so the router that shares it gets every connection.
    """

    def __init__(self) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._sock.bind(("127.0.0.1", 0))
        self.number: int = self._sock.getsockname()[1]

    def close(self) -> None:
        self._sock.close()


@dataclass(frozen=True)
class Event:
    """One stored event, as a subscriber gets it."""

    subject: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def status(self) -> str:
        return str(self.body["status"])


def router_settings(nats_url: str, port: int, **sections: Any) -> dict[str, Any]:
    """Fast where the defaults are patient; `sections` are laid over it, key by key."""
    given: dict[str, Any] = {
        "http": {
            "public_url": f"http://127.0.0.1:{port}",
            "listen": f"127.0.0.1:{port}",
            "reuse_port": True,
            "admin_listen": "127.0.0.1:0",
        },
        "senders": SENDERS,
        "templates": TEMPLATES,
        **SECTIONS,
    }
    for name, section in sections.items():
        given[name] = given.get(name, {}) | section if isinstance(section, dict) else section
    given["nats"] = {**given["nats"], "url": nats_url}
    return given


class Harness:
    """`async with Harness() as harness: await harness.start_router(); ...`."""

    def __init__(self, *, faults: Faults | None = None, simulator: Mapping[str, Any] | None = None) -> None:
        self.server = EmbeddedNats()
        self._stack = AsyncExitStack()
        self.port = self.reserve_port()
        values: dict[str, Any] = {"seed": 1, "delays": NO_DELAYS, "inbound_url": f"{self.public_url}/twilio/inbound"}
        values |= {"faults": faults or Faults(), **(simulator or {})}
        self.simulator = Simulator(SimulatorSettings(**values))
        self.routers: list[Router] = []
        self.deliveries: list[Event] = []
        self.inbound: list[Event] = []
        self.dead_letters: list[Event] = []
        self.client: Client
        self.js: JetStreamContext
        self.http: aiohttp.ClientSession
        self._subscriptions: list[Context.PushSubscription] = []

    @property
    def public_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """The provider's secrets."""
        return {
            "TWILIO_ACCOUNT_SID": DEMO_ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": DEMO_AUTH_TOKEN,
            "TWILIO_API_BASE_URL": self.simulator.base_url,
        }

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.server)
        await self._stack.enter_async_context(self.simulator)
        self.http = await self._stack.enter_async_context(aiohttp.ClientSession())
        self.client = await nats.connect(
            self.server.url, reconnect_time_wait=0.05, max_reconnect_attempts=-1, error_cb=_ignore
        )
        self._stack.push_async_callback(self.client.close)
        self.js = self.client.jetstream()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for router in self.routers:
                await router.stop()
            if self._subscriptions and kind is None:
                await self._caught_up()
                check_promises(self.deliveries, self.inbound, self.dead_letters)
        finally:
            await self._stack.aclose()

    # --- routers

    async def start_router(
        self, *, environ: Mapping[str, str] | None = None, kind: type[Router] = Router, **sections: Any
    ) -> Router:
        """One more router in this process; the first one listens where the provider calls."""
        port = self.reserve_port() if self.routers else self.port
        settings = Settings(**router_settings(self.server.url, port, **sections))
        router = kind(settings, {**self.environ, **(environ or {})})
        await router.start()
        self.routers.append(router)
        await self.watch()
        return router

    def reserve_port(self) -> int:
        """For one more router's webhooks."""
        reserved = ReservedPort()
        self._stack.callback(reserved.close)
        return reserved.number

    async def stop_router(self, router: Router) -> None:
        """Drain one of them."""
        self.routers.remove(router)
        await router.stop()

    async def watch(self) -> None:
        """Follow what subscribers and operators can read; the streams must be there."""
        if self._subscriptions:
            return
        for filter_subject, kept in zip(WATCHED, (self.deliveries, self.inbound, self.dead_letters), strict=True):
            self._subscriptions.append(await self._follow(filter_subject, kept))

    async def watch_again(self) -> None:
        """From the beginning, after the server was away: its memory of who watches is gone."""
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        self._subscriptions.clear()
        for kept in (self.deliveries, self.inbound, self.dead_letters):
            kept.clear()
        await self.watch()

    async def _follow(self, filter_subject: str, kept: list[Event]) -> Context.PushSubscription:
        async def keep(msg: Msg) -> None:
            kept.append(Event(msg.subject, msg.headers or {}, json.loads(msg.data)))

        return await self.js.subscribe(filter_subject, ordered_consumer=True, cb=keep)

    # --- what services do

    async def publish(
        self,
        notification_id: str,
        to: str = US,
        *,
        lane: str = "normal",
        source: str = "shop",
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> None:
        """Publish a notification: a short text, unless told otherwise."""
        body = {"id": notification_id, "to": to, "content": {"text": f"hello {notification_id}"}, **fields}
        await self.js.publish(f"notifications.{lane}.{source}", json.dumps(body).encode(), headers=headers)

    async def publish_raw(self, subject: str, body: bytes) -> None:
        """Publish whatever this is."""
        await self.js.publish(subject, body)

    # --- what subscribers see

    def story(self, notification_id: str, source: str = "shop") -> list[Event]:
        """Every event of one notification so far, in order."""
        return [
            event
            for event in self.deliveries
            if (event.body["source"], event.body["notification_id"]) == (source, notification_id)
        ]

    def statuses(self, notification_id: str) -> list[str]:
        return [event.status for event in self.story(notification_id)]

    async def wait_for(self, notification_id: str, status: str, source: str = "shop") -> Event:
        """The first event of this status, once it is there."""

        def found() -> list[Event]:
            return [event for event in self.story(notification_id, source) if event.status == status]

        await until(lambda: bool(found()))
        return found()[0]

    async def wait_for_final(self, notification_id: str, source: str = "shop") -> Event:
        """The event after which nothing more is attempted."""

        def found() -> list[Event]:
            return [event for event in self.story(notification_id, source) if event.body["final"]]

        await until(lambda: bool(found()))
        return found()[0]

    async def idle(self) -> None:
        """Until nothing is under way: every consumer has taken and settled everything, twice in a row."""
        before: tuple[int, ...] | None = None
        async with asyncio.timeout(PATIENCE):
            while (now := await self._stand()) != before or now[-1]:
                before = now
        await self._caught_up()

    async def _stand(self) -> tuple[int, ...]:
        """Last sequences of the streams, and how much is open."""
        sequences, unsettled = [], 0
        for stream in ("NOTIFICATIONS", "TIMERS", "OUTBOX", "DELIVERIES"):
            for consumer in await self.js.consumers_info(stream):
                if (consumer.config.durable_name or "").startswith(PROMPT):
                    unsettled += (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
            sequences.append((await self.js.stream_info(stream)).state.last_seq)
        return (*sequences, unsettled)

    async def _caught_up(self) -> None:
        counts = [(await self.js.stream_info(name)).state.messages for name in ("DELIVERIES", "INBOUND", "DEADLETTERS")]
        await until(lambda: [len(self.deliveries), len(self.inbound), len(self.dead_letters)] == counts)

    # --- what the provider does

    @property
    def sent(self) -> list[TwilioMessage]:
        """What the provider has accepted, oldest first."""
        return [message for message in self.simulator.messages if message.direction != "inbound"]

    async def sent_to(self, to: str) -> TwilioMessage:
        """The one message to this address, once it was accepted."""
        await until(lambda: any(message.to == to for message in self.sent))
        (message,) = [message for message in self.sent if message.to == to]
        return message

    async def receive(self, from_: str, to: str, body: str = "", **fields: Any) -> InboundAnswer:
        """A recipient writes to one of our senders."""
        return await self.simulator.receive(Inbound(from_=from_, to=to, body=body, **fields))

    async def report(self, message: TwilioMessage, status: str, **fields: str) -> int:
        """A signed status callback about this message; the HTTP answer."""
        assert message.callback is not None
        url = message.callback.partition("#")[0]
        return (await self.post(url, {"MessageSid": message.sid, "MessageStatus": status, **fields}))[0]

    async def post(
        self, url: str, fields: Mapping[str, str], signature: str | None = None, token: str = DEMO_AUTH_TOKEN
    ) -> tuple[int, str]:
        """POST a form as the provider would; status and body of the answer."""
        signed = signature if signature is not None else RequestValidator(token).compute_signature(url, dict(fields))
        headers = {"X-Twilio-Signature": signed} if signed else {}
        async with self.http.post(url, data=fields, headers=headers) as response:
            return response.status, await response.text()


async def _ignore(_error: Exception) -> None:
    """The client loses its connection on purpose in some tests, and comes back by itself."""

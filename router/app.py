"""The composition root: the one place that names concrete classes, and the life of a router from start to drain."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from nats.aio.msg import Msg

from channels.errors import ChannelConfigError
from channels.model import ChannelName
from channels.port import Channel, ChannelPlugin, ProviderContext, WebhookReply, Webhooks
from channels.registry import PluginError, discover
from policies import document
from policies.engine import Policy, compile_policy
from policies.retry import RetrySettings
from policies.world import World
from router import subjects, topology
from router.archive import Archive
from router.attempts import Attempts
from router.attribution import Attribution
from router.clock import utc_now
from router.connection import ConnectionFailedError, connect, make_broker
from router.consent import ConsentKeeper
from router.deadletters import DeadLetters
from router.dispatch import Dispatch
from router.follow_up import FollowUp
from router.health import Health
from router.http import WebhookApp, admin_app, as_json
from router.inbound import Inbound
from router.intake import Intake, Received
from router.jetstream import JetStream, StoreError
from router.leases import Presence
from router.ledger import Ledger
from router.listeners import Listener, ListenError, bind
from router.metrics import render
from router.moves import Mover
from router.outbox import Outbox
from router.recipients import Consent, Recipients, Sessions, load_hasher
from router.reconcile import Reconcile
from router.replay import Replay
from router.schemas import asyncapi, asyncapi_page
from router.sending import SenderQueue
from router.services import Services
from router.settings import Settings
from router.stuck import Stuck
from router.timers import Timers
from router.topology import TopologyError
from router.tracking import Tracking
from router.waking import Waking
from router.workers import Handler, Settler, Worker

log = structlog.get_logger(__name__)

ALL_ROLES = frozenset({"intake", "dispatch", "webhooks", "tracking"})
_MENDABLE = (ChannelConfigError, PluginError, TopologyError, ConnectionFailedError, ListenError, StoreError)


class StartError(Exception):
    """The router cannot start; the message says what its operator can do."""


@dataclass(frozen=True, slots=True)
class Providers:
    """Installed channels, opened for the configured senders."""

    plugins: Mapping[ChannelName, ChannelPlugin]
    channels: Mapping[ChannelName, Channel]
    webhooks: Mapping[str, Webhooks]
    contexts: Mapping[str, ProviderContext]


class Router:
    """One process of Pointsman."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], roles: frozenset[str] = ALL_ROLES) -> None:
        self._settings = settings
        self._environ = environ
        self._roles = roles
        self._stack = AsyncExitStack()
        self.instance = secrets.token_hex(6)  #: names this process in leases and in the log
        self.health = Health()
        self._queues: Mapping[str, SenderQueue] = {}
        self.admin_url = ""
        self.webhook_url = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Start, serve until `stop` is set, drain."""
        await self.start()
        await stop.wait()
        await self.stop()

    async def start(self) -> None:
        """Everything up, in the order in which one part needs the other. Raises `StartError`."""
        try:
            await self._start()
        except _MENDABLE as exc:
            await self._stack.aclose()
            raise StartError(str(exc)) from exc
        except BaseException:
            await self._stack.aclose()
            raise
        log.info("router.ready", instance=self.instance, roles=sorted(self._roles), admin=self.admin_url)

    async def stop(self) -> None:
        """Drain: take nothing new, end what is in flight, then let go of everything, last first."""
        log.info("router.draining", instance=self.instance)
        self.health.draining = True
        await self._stack.aclose()
        log.info("router.stopped", instance=self.instance)

    async def _start(self) -> None:
        settings = self._settings
        senders = {each.name: each.as_sender() for each in settings.senders}
        sockets = self._bind()
        providers = self._open_providers()
        policy = load_policy(settings, providers.plugins)
        js = await self._connect()
        await topology.provision(js, settings)

        prefix = settings.streams.bucket_prefix
        hasher = await load_hasher(js, prefix, self._environ)
        consent = Consent(js, prefix, hasher)
        sessions = Sessions(js, prefix, hasher, settings.sessions, utc_now)
        recipients = Recipients(consent, sessions, senders.values())
        for mirror in (consent.mirror, sessions.mirror):
            await mirror.start()
            self._stack.push_async_callback(mirror.stop)

        ledger = Ledger(js, utc_now, self.instance)
        outbox, timers, archive = Outbox(js), Timers(js), Archive(js)
        dead_letters = DeadLetters(js, utc_now, prefix + topology.DEADLETTERS)
        keeper = ConsentKeeper(consent, settings.consent, utc_now)
        mover = Mover(RetrySettings(**settings.retry.model_dump()), utc_now)
        presence = Presence(js, prefix + topology.SENDERS, self.instance, settings.dispatch.lease)
        tracking = Tracking(ledger, hasher, mover, utc_now)
        intake = Intake(
            ledger=ledger,
            outbox=outbox,
            timers=timers,
            dead_letters=dead_letters,
            recipients=recipients,
            policy=lambda: policy,
            channels=providers.plugins.keys(),
            clock=utc_now,
        )
        attempts = Attempts(
            ledger=ledger,
            channels=providers.channels,
            senders=senders,
            recipients=recipients,
            consent=keeper,
            hasher=hasher,
            mover=mover,
            clock=utc_now,
            presence=presence,
            timeout=settings.dispatch.timeout,
        )
        reconcile = Reconcile(
            ledger=ledger,
            archive=archive,
            timers=timers,
            dead_letters=dead_letters,
            attribution=Attribution(js, prefix + topology.ATTRIBUTIONS),
            channels=providers.channels,
            senders=senders,
            hasher=hasher,
            settings=settings.reconcile,
            attempts_per_step=settings.retry.attempts,
            clock=utc_now,
        )
        follow_up = FollowUp(ledger, archive, outbox, timers, reconcile, utc_now)
        waking = Waking(intake, outbox, reconcile)

        # Started in this order and stopped in the opposite one: what takes new work stops first.
        await self._serve_admin(js, sockets["admin"])
        replay = Replay(js, dead_letters, intake, follow_up, reconcile)
        services = Services(js, recipients, lambda: policy, dead_letters, replay, utc_now)
        service = await services.start(js.client)
        self._stack.push_async_callback(service.stop)
        if "tracking" in self._roles:
            await self._work(js, dead_letters, subjects.DELIVERIES, topology.FOLLOW_UP, _on_event(follow_up), 64)
            await self._work(js, dead_letters, subjects.TIMERS, topology.WAKE, waking.on_message, 64)
            stuck = Stuck(ledger, tracking, providers.channels, hasher, settings.tracking, utc_now)
            await self._work(js, dead_letters, subjects.DELIVERIES, topology.STUCK, stuck.on_accepted, 16)
        if "dispatch" in self._roles:
            settler = Settler(js, dead_letters, "dispatch")
            bucket = prefix + topology.SENDERS
            dispatch = Dispatch(js, senders, attempts, settler, settings.dispatch, bucket, self.instance, presence)
            self._queues = dispatch.queues
            await dispatch.start()
            self._stack.push_async_callback(dispatch.stop)
        if "webhooks" in self._roles and providers.webhooks:
            inbound = Inbound(js, senders.values(), keeper, sessions, settings.inbound, utc_now)
            app = WebhookApp(
                providers.webhooks, tracking, inbound, settings.http.max_body, lambda: self.health.draining
            )
            listener = await self._listen(app, sockets["webhooks"])
            self.webhook_url = listener.url
        if "intake" in self._roles:
            await self._work(js, dead_letters, subjects.NOTIFICATIONS, topology.INTAKE, _on_notification(intake), 256)
        self.health.started = True

    def _bind(self) -> Mapping[str, socket.socket]:
        """First of all: an address that is taken stops the start before anything is promised."""
        http = self._settings.http
        sockets = {"admin": bind(http.admin_listen)}
        if "webhooks" in self._roles:
            sockets["webhooks"] = bind(http.listen, shared=http.reuse_port)
        for sock in sockets.values():
            self._stack.callback(sock.close)
        return sockets

    def _open_providers(self) -> Providers:
        plugins = discover()
        contexts: dict[str, ProviderContext] = {}
        channels: dict[ChannelName, Channel] = {}
        webhooks: dict[str, Webhooks] = {}
        for name in sorted({ChannelName(channel) for sender in self._settings.senders for channel in sender.channels}):
            if name not in plugins:
                raise StartError(f"senders: no channel {name!r} is installed (there are {', '.join(sorted(plugins))})")
            plugin = plugins[name]
            context = contexts.setdefault(plugin.provider, self._context(plugin.provider))
            channels[name] = plugin.open(context)
            if plugin.webhooks and plugin.provider not in webhooks and self._wants_webhooks():
                webhooks[plugin.provider] = plugin.webhooks(context)
        for context in contexts.values():
            self._stack.push_async_callback(context.aclose)
        return Providers(plugins, channels, webhooks, contexts)

    def _wants_webhooks(self) -> bool:
        if self._settings.http.public_url is None:
            log.warning(
                "webhooks.off", why="http.public_url is not set: no status and no inbound message will come back"
            )
            return False
        return "webhooks" in self._roles

    def _context(self, provider: str) -> ProviderContext:
        return ProviderContext(
            environ=self._environ,
            public_url=self._settings.http.public_url,
            timeout=self._settings.dispatch.timeout,
            options=self._settings.providers.get(provider, {}),
        )

    async def _connect(self) -> JetStream:
        settings = self._settings.nats
        waiting: list[JetStream] = []

        def disconnected() -> None:
            for each in waiting:
                each.fail_all("the connection broke")

        broker = make_broker(settings, on_disconnect=disconnected)
        await connect(broker, settings)
        self._stack.push_async_callback(broker.stop)
        version = broker.connection.connected_server_version
        topology.check_server((version.major, version.minor, version.patch))
        js = JetStream(broker.connection, timeout=settings.timeout)
        await js.start()
        waiting.append(js)
        self._stack.push_async_callback(js.stop)
        return js

    async def _serve_admin(self, js: JetStream, sock: socket.socket) -> None:
        async def metrics() -> WebhookReply:
            return WebhookReply(200, *render(self._queues))

        async def contract_page() -> WebhookReply:
            html = await asyncio.to_thread(asyncapi_page)
            return WebhookReply(200, "text/html; charset=utf-8", html.encode())

        async def contract_document() -> WebhookReply:
            return as_json(200, await asyncio.to_thread(asyncapi))

        pages = {
            "/healthz": self.health.alive,
            "/readyz": lambda: self.health.ready(js, self._settings),
            "/metrics": metrics,
            "/asyncapi": contract_page,
            "/asyncapi.json": contract_document,
        }
        app = admin_app(pages)
        self.admin_url = (await self._listen(app, sock)).url

    async def _listen(self, app: object, sock: socket.socket) -> Listener:
        listener = Listener(app, sock)
        await listener.start()
        self._stack.push_async_callback(listener.stop)
        return listener

    async def _work(
        self, js: JetStream, dead_letters: DeadLetters, stream: str, consumer: str, handler: Handler, concurrency: int
    ) -> None:
        worker = Worker(
            Settler(js, dead_letters, consumer),
            stream,
            consumer,
            handler,
            concurrency=concurrency,
            ack_wait=self._settings.dispatch.ack_wait,
        )
        await worker.start()
        self._stack.push_async_callback(worker.stop, self._settings.dispatch.drain)


def load_policy(settings: Settings, plugins: Mapping[ChannelName, ChannelPlugin]) -> Policy:
    """The configured policy, or the shipped one, compiled for what is configured and installed."""
    world = World(
        senders=tuple(each.as_sender() for each in settings.senders),
        channels={name: plugin.capabilities for name, plugin in plugins.items()},
        templates=settings.template_entries(),
    )
    file = settings.policy.file
    if file is None:
        return compile_policy(document.shipped(), world)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise StartError(f"policy.file: {file} cannot be read: {type(exc).__name__}") from None
    try:
        return compile_policy(document.load(text, str(file)), world)
    except document.PolicyError as exc:
        raise StartError(str(exc)) from None


def _on_notification(intake: Intake) -> Handler:
    async def handle(msg: Msg) -> None:
        place = msg.metadata
        again = place.num_delivered > 1
        await intake.take(Received(msg.subject, place.sequence.stream, msg.data, msg.headers or {}, redelivered=again))

    return handle


def _on_event(follow_up: FollowUp) -> Handler:
    async def handle(msg: Msg) -> None:
        await follow_up.on_event(msg.data)

    return handle

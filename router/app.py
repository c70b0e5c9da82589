"""The life of a router: what is started in which order, and how it drains."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog

from channels.errors import ChannelConfigError
from channels.model import Lane
from channels.port import WebhookReply
from channels.registry import PluginError
from policies.world import World
from router import topology
from router.approvals import Approvals, reports_in
from router.buckets import Bucket, Mirror
from router.connection import Connection, ConnectionFailedError
from router.console.access import AccessError
from router.console.following import Follower
from router.hashing import load_hasher
from router.health import Health
from router.http import ASGIApp, admin_app, as_json
from router.jetstream import JetStream, StoreError
from router.keeper import PolicyKeeper
from router.listeners import Listener, ListenError, bind
from router.metrics import Counted
from router.openapi import openapi
from router.policy import PolicyFileError, world_of
from router.providers import Providers, open_providers
from router.schemas import asyncapi, asyncapi_page
from router.services import announce
from router.settings import Settings
from router.tasks import keep_running
from router.topology import TopologyError
from router.tracing import Tracing, TracingError
from router.wiring import Parts
from router.workers import Handler, Settler, Worker

log = structlog.get_logger(__name__)

ALL_ROLES = frozenset({"intake", "dispatch", "webhooks", "tracking"})
_MENDABLE = (
    AccessError,
    ChannelConfigError,
    ConnectionFailedError,
    ListenError,
    PluginError,
    PolicyFileError,
    StoreError,
    TopologyError,
    TracingError,
)


class StartError(Exception):
    """The router cannot start; the message says what its operator can do."""


#: Notifications of each lane under way at a time: few of those that can wait, so that the others soon have their turn.
INTAKE = {Lane.URGENT: 128, Lane.NORMAL: 128, Lane.BULK: 64}


class Router:
    """One process of Pointsman."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], roles: frozenset[str] = ALL_ROLES) -> None:
        self._settings = settings
        self._environ = environ
        self._roles = roles
        self._stack = AsyncExitStack()
        self._pauses: list[Callable[[], Awaitable[None]]] = []
        self._drains: list[Callable[[], Awaitable[None]]] = []
        self.instance = secrets.token_hex(6)  #: names this process in leases and in the log
        self.health = Health()
        self._unapproved: Callable[[], Sequence[str]] = tuple
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
            await self._undo()
            raise StartError(str(exc)) from exc
        except BaseException:
            await self._undo()
            raise
        log.info("router.ready", instance=self.instance, roles=sorted(self._roles), admin=self.admin_url)

    async def stop(self) -> None:
        """Drain: take nothing new, end what is in flight, then let go of everything, last first."""
        log.info("router.draining", instance=self.instance)
        self.health.draining = True
        await self._undo()
        log.info("router.stopped", instance=self.instance)

    async def _undo(self) -> None:
        """First of all nobody takes anything new; only then is anything waited for, all at the same time."""
        await asyncio.gather(*(pause() for pause in self._pauses))
        await asyncio.gather(*(drain() for drain in self._drains))
        await self._stack.aclose()

    async def _start(self) -> None:
        """What is started first is stopped last: whatever takes new work comes after what it needs."""
        sockets = self._bind()
        connection = await self._connect()
        parts = await self._parts(self._jetstream(connection))
        await self._serve_admin(parts, sockets["admin"])
        service = await announce(parts.js.client, parts.desks)
        self._stack.push_async_callback(service.stop)
        if "tracking" in self._roles:
            await self._work(parts, topology.FOLLOW_UP, parts.follow_up.on_message, 64)
            await self._work(parts, topology.WAKE, parts.waking.on_message, 64)
            await self._work(parts, topology.SEARCH, parts.waking.on_message, 64, topology.WAKE)
            await self._work(parts, topology.STUCK, parts.stuck.on_accepted, 16)
            await self._work(parts, topology.STUCK_AGAIN, parts.stuck.on_wake, 16)
            self._pauses.append(parts.stuck.stop)
            await parts.returns.start()
            self._pauses.append(parts.returns.pause)
            self._drains.append(parts.returns.stop)
        if "dispatch" in self._roles:
            for part in (parts.dispatch, parts.orphans):
                await part.start()
                self._pauses.append(part.pause)
                self._drains.append(part.stop)
        if "webhooks" in self._roles and parts.providers.webhooks:
            app = parts.webhooks(lambda: self.health.draining)
            self.webhook_url = (await self._listen(app, sockets["webhooks"])).url
        if "intake" in self._roles:
            for lane, concurrency in INTAKE.items():
                # Of a full house, each notification that leaves would have one that follows it asked for.
                consumer, least = topology.intake(lane), concurrency // 4
                await self._work(parts, consumer, parts.intake.on_message, concurrency, topology.INTAKE, least)
            await parts.strays.start()
            self._pauses.append(parts.strays.pause)
        parts.advisories.subscribe(connection.broker)
        await connection.broker.start()
        parts.stranded.start()
        self._stack.callback(parts.stranded.stop)
        self.health.started = True
        watching = keep_running("health", partial(self.health.watch, parts.js, self._settings))
        self._stack.callback(watching.cancel)

    def _jetstream(self, connection: Connection) -> JetStream:
        nats = self._settings.nats
        return JetStream(connection.client, timeout=nats.timeout, replicated=nats.replicas > 1)

    def _bind(self) -> Mapping[str, socket.socket]:
        """First of all: an address that is taken stops the start before anything is promised."""
        http = self._settings.http
        sockets = {"admin": bind(http.admin_listen)}
        self._stack.callback(sockets["admin"].close)
        if "webhooks" in self._roles:
            sockets["webhooks"] = bind(http.listen, shared=http.reuse_port)
            self._stack.callback(sockets["webhooks"].close)
        return sockets

    async def _connect(self) -> Connection:
        connection = Connection(self._settings.nats)
        await connection.open()
        self._stack.push_async_callback(connection.close)
        self.health.refused = connection.refused
        version = connection.client.connected_server_version
        topology.check_server((version.major, version.minor, version.patch))
        return connection

    async def _parts(self, js: JetStream) -> Parts:
        """Streams in place, channels open, caches warm."""
        settings = self._settings
        await js.start()
        self._stack.push_async_callback(js.stop)
        await topology.provision(js, settings)
        providers = open_providers(settings, self._environ, listens="webhooks" in self._roles)
        self._stack.push_async_callback(providers.aclose)
        hasher = await load_hasher(js, settings.streams.bucket_prefix, self._environ)
        Counted.on = settings.telemetry.metrics
        keeper = await self._keep_policy(js, providers)
        parts = Parts(settings, js, providers, keeper.policy, hasher, self.instance, self._tracing())
        mirrors: list[Mirror[Any]] = [parts.consent.mirror, parts.sessions.mirror, parts.reach.mirror]
        mirrors.append(parts.rests.mirror)
        mirrors += [parts.stickiness.mirror] if parts.stickiness.channels else []
        for mirror in mirrors:
            # A million sessions take seconds to load. Meanwhile the server is asked for what matters.
            await mirror.start(wait=mirror is parts.rests.mirror)
            self._stack.push_async_callback(mirror.stop)
        return parts

    async def _keep_policy(self, js: JetStream, providers: Providers) -> PolicyKeeper:
        settings = self._settings
        bucket: Mirror[bytes] = Mirror(js, Bucket(js, settings.streams.bucket_prefix + topology.POLICY), bytes)
        await bucket.start()
        self._stack.push_async_callback(bucket.stop)

        def world(stored: Mapping[str, bytes]) -> World:
            reports = reports_in(stored) if settings.policy.template_refresh else {}
            return world_of(settings, providers.installed, reports)

        keeper = PolicyKeeper(settings.policy, bucket, world)
        await keeper.start()
        self._stack.push_async_callback(keeper.stop)
        self.health.notes = keeper.notes
        approvals = Approvals(providers.catalogs, settings.templates, bucket, settings.policy.template_refresh)
        await approvals.start()
        self._stack.push_async_callback(approvals.stop)
        self._unapproved = approvals.missing
        return keeper

    async def _console(self, parts: Parts) -> ASGIApp | None:
        settings = self._settings.console
        if not settings.enabled:
            return None
        from router.console.site import open_site  # noqa: PLC0415 - an extra, and a second to import

        office = parts.office(self._notes, self._unapproved)
        follower = Follower(parts.js, office.feed, settings.events)
        await follower.start()
        self._stack.push_async_callback(follower.stop)
        return await open_site(office, settings, self._environ, self._stack)

    def _notes(self) -> Mapping[str, str]:
        return self.health.told()

    def _tracing(self) -> Tracing | None:
        if not self._settings.telemetry.traces:
            return None
        from router.tracing.exporting import open_tracing  # noqa: PLC0415 - an extra: only where traces are on

        tracing, close = open_tracing(self._settings.telemetry, self.instance)
        self._stack.push_async_callback(close)
        return tracing

    async def _serve_admin(self, parts: Parts, sock: socket.socket) -> None:
        async def metrics() -> WebhookReply:
            if not Counted.on:
                return WebhookReply(404, "text/plain", b"metrics are switched off: telemetry.metrics\n")
            return WebhookReply(200, *await parts.metrics.render())

        async def contract_page() -> WebhookReply:
            html = await asyncio.to_thread(asyncapi_page)
            return WebhookReply(200, "text/html; charset=utf-8", html.encode())

        async def contract_document() -> WebhookReply:
            return as_json(200, await asyncio.to_thread(asyncapi))

        async def endpoints() -> WebhookReply:
            return as_json(200, openapi())

        pages = {
            "/healthz": lambda: self.health.alive(parts.js),
            "/readyz": lambda: self.health.ready(parts.js, self._settings),
            "/metrics": metrics,
            "/asyncapi": contract_page,
            "/asyncapi.json": contract_document,
            "/openapi.json": endpoints,
        }
        app = admin_app(pages, await self._console(parts))
        self.admin_url = (await self._listen(app, sock, websockets=True)).url

    async def _listen(self, app: ASGIApp, sock: socket.socket, *, websockets: bool = False) -> Listener:
        listener = Listener(app, sock, websockets=websockets)
        await listener.start()
        self._stack.push_async_callback(listener.stop)
        return listener

    async def _work(
        self,
        parts: Parts,
        consumer: str,
        handler: Handler,
        concurrency: int,
        stage: str | None = None,
        least: int = 1,
    ) -> None:
        """`stage` names the dead letters; None: as the consumer."""
        stream, config = topology.consumer(self._settings, consumer)
        worker = Worker(
            Settler(parts.js, parts.dead_letters, stage or consumer),
            stream,
            config,
            handler,
            concurrency=concurrency,
            ack_wait=self._settings.dispatch.ack_wait,
            least=least,
        )
        await worker.start()
        self._pauses.append(worker.pause)
        self._drains.append(partial(worker.stop, self._settings.dispatch.drain))

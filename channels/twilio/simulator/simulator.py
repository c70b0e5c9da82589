"""The simulator: puts its parts together, listens, and lets tests look inside."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from channels.twilio.simulator.api import Api, Handler
from channels.twilio.simulator.callbacks import CallbackPool
from channels.twilio.simulator.content import ContentTemplate
from channels.twilio.simulator.control import Control
from channels.twilio.simulator.core import Core
from channels.twilio.simulator.faults import Faults
from channels.twilio.simulator.hooks import HookClient
from channels.twilio.simulator.inbound import Inbound, InboundAnswer, Inbox
from channels.twilio.simulator.lifecycle import Lifecycle
from channels.twilio.simulator.messages import MessageStore, TwilioMessage
from channels.twilio.simulator.settings import SimulatorSettings
from channels.twilio.simulator.world import World

#: Connections that may wait to be taken; a campaign opens hundreds at once.
BACKLOG = 1024
#: Seconds that requests under way get when the simulator stops.
STOP_SECONDS = 1.0


class Simulator:
    """A Twilio account of our own: `async with Simulator(settings) as simulator: ...` or start and stop."""

    def __init__(self, settings: SimulatorSettings | None = None) -> None:
        self.settings = settings or SimulatorSettings()
        self.base_url = ""  #: "http://127.0.0.1:8026" once started
        self._runner: web.ServerRunner | None = None
        self._client = HookClient(
            self.settings.auth_token, self.settings.callback_workers + 16, self.settings.retry_pause
        )
        self._assemble()

    def _assemble(self) -> None:
        self._core = Core(self.settings)
        self._world = World(self.settings)
        self._store = MessageStore(self.settings.max_messages)
        self._pool = CallbackPool(self._core, self._client)
        self._lifecycle = Lifecycle(self._core, self._world, self._store, self._pool.notify)
        self._inbox = Inbox(self._core, self._world, self._store, self._client)
        self._api = Api(self._core, self._world, self._store, self._lifecycle)
        self._routes: dict[tuple[str, str], Handler] = self._api.routes() | Control(self).routes()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one. OSError when the port is taken."""
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=STOP_SECONDS)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, backlog=BACKLOG).start()
        except OSError:
            await self._runner.cleanup()
            raise
        bound = self._runner.addresses[0][1]
        self.base_url = f"http://{f'[{host}]' if ':' in host else host}:{bound}"
        self._client.open()
        self._go()

    def _go(self) -> None:
        self._api.start(self.base_url)
        self._pool.start()
        self._core.agenda.start()

    async def _halt(self) -> None:
        self._core.agenda.stop()
        self._api.stop()
        await self._pool.stop()

    async def stop(self) -> None:
        """Close the port and stop at once; started again, it goes on where it was."""
        await self._halt()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._client.close()

    async def reset(self) -> None:
        """Forget everything and start over as configured, with the seed's first draws; the port stays."""
        await self._halt()
        self._assemble()
        self._go()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # --- looking inside

    @property
    def messages(self) -> list[TwilioMessage]:
        """What is kept, inbound messages included, oldest first."""
        return list(self._store)

    @property
    def accepted(self) -> int:
        """How many messages were accepted from the API, those forgotten since included."""
        return self._lifecycle.accepted

    @property
    def pending_callbacks(self) -> int:
        """Callbacks that are waiting, on their way, or to be tried again."""
        return self._pool.pending

    @property
    def faults(self) -> Faults:
        """The switches as they stand, with what is left of the scripts."""
        return self._core.plan.remaining()

    def excerpt(self, to: str | None = None, after: int = 0, limit: int | None = None) -> list[TwilioMessage]:
        """Messages to one recipient or all, whose ordinal is greater than `after`, oldest first."""
        newer = (message for message in self._store if message.ordinal > after and to in (None, message.to))
        return list(islice(newer, limit))

    def stats(self) -> dict[str, Any]:
        """Counts since the start or the last reset."""
        return {
            "accepted": self.accepted,
            "kept": len(self._store),
            "by_status": Counter(message.status for message in self._store),
            "callbacks_pending": self.pending_callbacks,
            "scheduled": len(self._core.agenda),
            "counts": dict(self._core.counts),
        }

    # --- bringing things about

    async def receive(self, inbound: Inbound) -> InboundAnswer:
        """A recipient writes to one of our senders; returns when the inbound webhook has answered."""
        return await self._inbox.receive(inbound)

    def switch_faults(self, faults: Faults) -> None:
        """From now on these faults."""
        self._core.plan.switch(faults)

    def set_session(self, sender: str, recipient: str, is_open: bool = True) -> None:
        """Open a WhatsApp window as of now, or close it. Addresses with `whatsapp:`."""
        if is_open:
            self._world.open_window(sender, recipient, self.now())
        else:
            self._world.close_window(sender, recipient)

    def set_opt_out(self, sender_or_service: str, recipient: str, opted_out: bool = True) -> None:
        """Opt a recipient out of a sender (or of the service it belongs to), or in again."""
        self._world.set_opt_out(sender_or_service, recipient, opted_out)

    def set_template(self, template: ContentTemplate) -> None:
        """Add a template, or change it: its approval, say."""
        self._world.templates[template.sid] = template

    def now(self) -> float:
        """The simulator's time, in seconds since the epoch."""
        return self._core.clock.now()

    def skip(self, seconds: float) -> None:
        """Let time pass at once: what falls due meanwhile happens, in order."""
        self._core.clock.skip(seconds)
        self._core.agenda.run_due()

    # --- serving

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        path = request.rel_url.raw_path
        handler = self._routes.get((request.method, path))
        if handler is not None:
            return await handler(request, "")
        pattern, sid = _with_star(path)
        handler = self._routes.get((request.method, pattern))
        if handler is not None:
            return await handler(request, sid)
        is_known = any(known in (path, pattern) for _, known in self._routes)
        return self._api.not_served(request, 20004 if is_known else 20404)


def _with_star(path: str) -> tuple[str, str]:
    """A path with its SID replaced, and the SID: the segment after its collection."""
    for collection in ("/Messages/", "/Applications/", "/v1/Content/", "/v1/Services/"):
        head, found, tail = path.partition(collection)
        if found:
            sid = tail.partition("/")[0].removesuffix(".json")
            return f"{head}{found}{tail.replace(sid, '*', 1) if sid else tail}", sid
    return path, ""

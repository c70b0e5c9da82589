"""Whether this process is alive, and whether it is ready for work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from channels.port import WebhookReply
from router import topology
from router.http import as_json
from router.jetstream import JetStream, StoreError
from router.metrics import READY
from router.settings import Settings

log = structlog.get_logger(__name__)

_LOOK = 2.0  #: seconds between looks
_REMIND = 60.0  #: seconds between lines about the same trouble


@dataclass
class Health:
    """What `/healthz` and `/readyz` say."""

    started: bool = False
    draining: bool = False
    #: What an operator should know although work goes on: name -> how it stands.
    notes: Callable[[], Mapping[str, str]] = dict
    #: What NATS would not let us do lately, in its words.
    refused: Callable[[], str | None] = lambda: None

    async def alive(self, js: JetStream) -> WebhookReply:
        """The event loop answers, and the connection to NATS has not been given up for good."""
        if js.client.is_closed:
            return as_json(
                503, {"status": "closed", "problems": ["the connection to NATS is closed for good: restart"]}
            )
        return as_json(200, {"status": "alive"})

    async def ready(self, js: JetStream, settings: Settings) -> WebhookReply:
        """Connected, streams in place, not draining; else what is missing."""
        problems = await self._problems(js, settings)
        status = "not ready" if problems else "ready"
        return as_json(503 if problems else 200, {"status": status, "problems": problems, "notes": dict(self.told())})

    def told(self) -> Mapping[str, str]:
        """The notes, and what NATS refused."""
        refused = self.refused()
        return {**self.notes(), **({"nats_refused": refused} if refused else {})}

    async def watch(self, js: JetStream, settings: Settings) -> None:
        """Say in the log and in the metrics, too, when readiness goes and when it is back, whoever asks or not."""
        since, before, said = 0.0, list[str](), 0.0
        while True:
            await asyncio.sleep(_LOOK)
            now, problems = time.monotonic(), await self._problems(js, settings)
            READY.set(not problems)
            if problems and (problems != before or now - said > _REMIND):
                since, said = (since if before else now), now
                log.warning("router.not_ready", problems=problems, seconds=round(now - since, 1))
            elif before and not problems:
                log.info("router.ready_again", after=round(now - since, 1), was=before)
            before = problems

    async def _problems(self, js: JetStream, settings: Settings) -> list[str]:
        if self.draining:
            return ["draining"]
        if not self.started:
            return ["starting"]
        if not js.client.is_connected:
            return ["not connected to NATS"]
        try:
            missing = await topology.missing(js, settings)
        except StoreError as exc:
            return [f"JetStream does not answer: {exc}"]
        return [f"stream {name} is missing" for name in missing]

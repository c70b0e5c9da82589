"""Whether this process is alive, and whether it is ready for work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from channels.port import WebhookReply
from router import topology
from router.http import as_json
from router.jetstream import JetStream, StoreError
from router.settings import Settings


@dataclass
class Health:
    """What `/healthz` and `/readyz` say."""

    started: bool = False
    draining: bool = False
    #: What an operator should know although work goes on: name -> how it stands.
    notes: Callable[[], Mapping[str, str]] = dict

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
        return as_json(503 if problems else 200, {"status": status, "problems": problems, "notes": dict(self.notes())})

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

"""`pointsman watch`: delivery events as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from router.cli.client import connected, require_stream
from router.cli.configuration import load_settings
from router.cli.following import ONLY_NEW, follow, since
from router.cli.output import event_printer
from router.clock import utc_now
from router.settings import NatsSettings
from router.subjects import DELIVERIES, delivery

_ANY = "*"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are wanted; None: any."""

    source: str | None
    status: str | None
    channel: str | None
    identity: str | None
    back: timedelta | None  #: begin so long ago; None: with what comes from now on

    @property
    def subject(self) -> str:
        """As the server filters."""
        return delivery(self.source or _ANY, self.status or _ANY, self.channel or _ANY, self.identity or _ANY)

    @property
    def start(self) -> Mapping[str, Any]:
        """As a consumer begins."""
        return ONLY_NEW if self.back is None else since(utc_now() - self.back)


def watch(
    wanted: Filter,
    count: int | None,
    config: Path | None,
    nats: str | None,
    *,
    as_json: bool,
    show_recipients: bool,
) -> None:
    """Print events until there were `count` of them; without one, for ever."""
    settings, _ = load_settings(config, nats)
    show = event_printer(as_json=as_json, show_recipients=show_recipients)
    asyncio.run(_follow(settings.nats, wanted, count, show))


async def _follow(
    settings: NatsSettings, wanted: Filter, count: int | None, show: Callable[[Mapping[str, Any]], None]
) -> None:
    shown = 0
    async with connected(settings) as js:
        await require_stream(js, DELIVERIES)
        async with aclosing(follow(js, DELIVERIES, [wanted.subject], wanted.start)) as messages:
            async for msg in messages:
                show(json.loads(msg.data))
                shown += 1
                if shown == count:
                    return

"""What waits for each sender, in which lane and for how long; who paces it, and how fast it may go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.console.office import Office
from router.console.pages.draw import LIVE, Cell, Column, Table, card, every, toned
from router.console.trouble import duration
from router.metrics.backlog import Reading

_BREAKERS = {"closed": ("sending", "good"), "open": ("stopped", "bad"), "half-open": ("trying again", "waits")}


def draw(office: Office) -> None:
    """The page."""
    with card("Senders"):
        senders = Table(
            [
                Column("sender", "Sender"),
                Column("channels", "Channels"),
                Column("state", "State"),
                Column("minute", "Sent a minute", number=True),
                Column("rate", "Rate a second", number=True),
                Column("flight", "Under way", number=True),
                Column("left", "Left today", number=True),
                Column("router", "Paced by"),
            ],
            "No sender is configured.",
        )
    with card("Queues by lane"):
        lanes = Table(
            [
                Column("sender", "Sender"),
                Column("lane", "Lane"),
                Column("waiting", "Waiting", number=True),
                Column("oldest", "Oldest"),
            ],
            "NATS has not said yet what waits.",
        )
    with card("Routers"):
        columns = [
            Column("router", "Router"),
            Column("version", "Version"),
            Column("policy", "Policy"),
            Column("paces", "Paces"),
        ]
        routers = Table(
            columns,
            "No router gives a sign of life.",
        )

    async def refresh() -> None:
        signs = await office.signs()
        senders.show([_sender(office, name, signs) for name in sorted(office.senders)])
        lanes.show(_lanes(await office.backlog.read()))
        routers.show([_router(instance, sign) for instance, sign in sorted(signs.items())])

    every(office, LIVE, refresh)


def _sender(office: Office, name: str, signs: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Cell]:
    sender = office.senders[name]
    owner = next((instance for instance, sign in signs.items() if name in sign.get("queues", {})), None)
    queue = signs[owner]["queues"][name] if owner else None
    words, tone = _BREAKERS[queue["breaker"]] if queue else ("nobody paces it", "bad")
    if queue and queue["breaker"] == "closed" and queue["rests"]:
        words, tone = f"rests for {duration(queue['rests'])}: the provider asked for it", "waits"
    return {
        "key": name,
        "sender": name,
        "channels": ", ".join(sorted(sender.channels)),
        "state": toned(f"{words}: {queue['why']}" if queue and queue["why"] else words, tone),
        "minute": f"{office.feed.a_minute(name):,.0f}",
        "rate": f"{sender.rate:g}",
        "flight": queue["in_flight"] if queue else "—",
        "left": _left(queue["left_today"]) if queue else "—",
        "router": owner or "—",
    }


def _left(left: Mapping[str, int]) -> str:
    """Of a daily cap, where there is one."""
    return ", ".join(f"{count:,} {unit}" for unit, count in left.items()) or "no cap"


def _lanes(reading: Reading) -> list[Mapping[str, Cell]]:
    return [
        {
            "key": f"{each.sender}.{each.lane}",
            "sender": each.sender,
            "lane": each.lane,
            "waiting": f"{each.messages:,}",
            "oldest": duration(each.oldest) if each.messages else "—",
        }
        for each in reading.queues
    ]


def _router(instance: str, sign: Mapping[str, Any]) -> Mapping[str, Cell]:
    return {
        "key": instance,
        "router": instance,
        "version": str(sign.get("version", "—")),
        "policy": str(sign.get("policy", "—")),
        "paces": ", ".join(sorted(sign.get("queues", {}))) or "nothing",
    }

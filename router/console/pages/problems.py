"""What an operator should look at, and the first thing to do about each."""

from __future__ import annotations

from router.console.office import Office
from router.console.pages.draw import LIVE, Column, Table, card, every, to, toned

_SHOWN = 100


def draw(office: Office) -> None:
    """The page."""
    with card("Now"):
        columns = [
            Column("severity", "When"),
            Column("what", "What"),
            Column("do", "What to do"),
            Column("where", "Where"),
        ]
        table = Table(columns, "Nothing needs a person.")

    async def refresh() -> None:
        table.show(
            [
                {
                    "key": each.what,
                    "severity": toned("now", "bad") if each.severe else toned("soon", "waits"),
                    "what": each.what,
                    "do": each.do,
                    "where": to("look", each.href) if each.href else "",
                }
                for each in (await office.problems())[:_SHOWN]
            ]
        )

    every(office, LIVE, refresh)

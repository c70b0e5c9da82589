"""From a recipient, a notification's id or a provider's id to the notifications behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nicegui import ui

from router.console.feed import Seen
from router.console.masking import masked
from router.console.office import Office, as_stored
from router.console.pages.draw import Cell, Column, Table, Text, card, inside, local, to, toned, tried
from router.console.story import tone_of

_MOST = 50


class SearchPage:
    """What is searched for stands in no address, so no history and no proxy's log keeps it."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._found: list[Seen] = []
        self._wanted = ""
        self._before = 0  #: sequence from which the log has not been looked through
        with card("Find a notification"):
            with inside("div", "row"):
                self._asked = ui.input("Recipient, notification id or provider's id").props("outlined")
                self._asked.on("keydown.enter", self._look)
                self._region = ui.input("Country, for a national number").props("outlined maxlength=2")
                ui.button("Search", on_click=self._look)
            self._words = Text("p", "", "note").props("role=status")
            self._further = ui.button("Look further back", on_click=self._look_further).props("outline")
            self._further.set_visibility(False)
        with card("Found"):
            columns = [
                Column("notification", "Notification"),
                Column("status", "Status"),
                Column("channel", "Channel"),
                Column("recipient", "Recipient"),
                Column("at", "Newest event (UTC)"),
            ]
            self._table = Table(columns, "Nothing to show.")
            self._table.show([])

    async def _look(self) -> None:
        await tried(self._office, self._search)

    async def _look_further(self) -> None:
        self._words.set_text("Reading the log …")
        await tried(self._office, self._search_log)

    async def _search(self) -> None:
        self._wanted = as_stored(self._asked.value or "", (self._region.value or "").upper())
        if not self._wanted:
            self._words.set_text("Say what to search for.")
            return
        self._found = await self._office.found(self._wanted, _MOST)
        feed = self._office.feed
        self._before = feed.first or 0
        since = f", which goes back to {local(feed.oldest)} UTC" if feed.oldest else ""
        self._show(f"{_many(self._found)} in memory{since}.", more=self._before > 1)

    async def _search_log(self) -> None:
        search = self._office.search
        more, looked, all_of_it, self._before = await search.further_back(self._wanted, _MOST, self._before)
        known = {(each.source, each.notification_id) for each in self._found}
        self._found += [each for each in more if (each.source, each.notification_id) not in known]
        since = "all of the log" if all_of_it else f"the log back to {local(looked)} UTC" if looked else "nothing more"
        self._show(f"{_many(self._found)}; looked through {since}.", more=not all_of_it)

    def _show(self, words: str, *, more: bool) -> None:
        self._words.set_text(words)
        self._further.set_visibility(more)
        self._table.show(_rows(self._found))


def _many(found: Sequence[Seen]) -> str:
    return "1 notification" if len(found) == 1 else f"{len(found)} notifications"


def _rows(found: Sequence[Seen]) -> list[Mapping[str, Cell]]:
    return [
        {
            "key": f"{each.source}/{each.notification_id}",
            "notification": to(
                f"{each.source}/{each.notification_id}", f"/notification/{each.source}/{each.notification_id}"
            ),
            "status": toned(each.status, tone_of(each.status)),
            "channel": each.channel,
            "recipient": masked(each.event["recipient"]),
            "at": local(each.at),
        }
        for each in found
    ]

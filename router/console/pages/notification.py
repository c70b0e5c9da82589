"""One notification: what it is, its whole story on a time line, and the reasons of each decision in sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from router.console.masking import content_summary, shown
from router.console.office import Office
from router.console.pages.draw import LIVE, Text, card, every, facts, inside, local, person, tried
from router.console.story import Chapter, facts_in_words, reasons, steps_in_words, told

_GONE = "This notification is not in the log (yet). The page shows it as soon as it comes."


class NotificationPage:
    """It follows the story while it is open."""

    def __init__(self, office: Office, source: str, identity: str) -> None:
        self._office = office
        self._source, self._identity = source, identity
        self._events: Sequence[Mapping[str, Any]] = []
        self._summary = ""
        self._revealed = False
        self._read_out = False
        self._looked = -1  #: how many events the feed had taken at the last look
        with card("Notification"):
            self._head = ui.element("div")
            with inside("div", "row"):
                self._reveal = ui.button("Show recipient", on_click=self._show_recipient).props("outline")
                self._read = ui.button("Show what it says", on_click=self._show_content).props("outline")
            self._said = ui.element("div").props("role=status")
        with card("Story"):
            self._line = ui.element("ol").classes("story")
        self._draw_head()
        every(office, LIVE, self._refresh)

    async def _show_recipient(self) -> None:
        await tried(self._office, self._reveal_recipient)

    async def _show_content(self) -> None:
        await tried(self._office, self._reveal_content)

    async def _reveal_recipient(self) -> None:
        self._office.reveal(person(), "recipient", source=self._source, notification_id=self._identity)
        self._revealed = True
        self._reveal.set_visibility(False)
        self._draw_head()

    async def _reveal_content(self) -> None:
        self._office.reveal(person(), "text", source=self._source, notification_id=self._identity)
        published = await self._office.notification(self._source, self._identity)
        self._said.clear()
        with self._said:
            content = (published or {}).get("content")
            gone = "Its stream keeps it no longer, or it could not be read."
            Text("pre", json.dumps(content, indent=2, ensure_ascii=False) if content else gone)
        self._read.set_visibility(False)
        self._read_out = True
        self._draw_head()

    async def _refresh(self) -> None:
        """Reading a story scans the log: only when the log has grown."""
        if self._office.feed.taken == self._looked:
            return
        self._looked = self._office.feed.taken
        events = await self._office.story(self._source, self._identity)
        if len(events) == len(self._events):
            return
        if not self._summary:
            self._summary = content_summary(await self._office.notification(self._source, self._identity) or {})
        self._events = events
        self._draw_head()
        _story(self._line, events)

    def _draw_head(self) -> None:
        self._head.clear()
        for button in (self._reveal, self._read):
            button.set_enabled(bool(self._events))
        with self._head:
            if not self._events:
                Text("p", _GONE, "empty")
                return
            first, last = self._events[0], self._events[-1]
            over = any(each["final"] for each in self._events)
            rows = [
                ("Stands at", f"{last['status']}{', the end' if over else ''}"),
                ("Recipient", shown(first["recipient"], revealed=self._revealed)),
                ("Lane, category", f"{first['lane']}, {first['category'] or 'unknown'}"),
                ("Says", self._summary or "—"),
            ]
            metadata = first["metadata"].items()  # whatever the publisher put there
            facts(rows + [(f"Metadata: {name}", shown(value, revealed=self._read_out)) for name, value in metadata])


def _story(line: ui.element, events: Sequence[Mapping[str, Any]]) -> None:
    line.clear()
    with line:
        for chapter, event in zip(told(events), events, strict=True):
            with inside("li", f"is-{chapter.tone}"):
                _chapter(chapter)
                if event["decision"]:
                    _decision(event["decision"])


def _chapter(chapter: Chapter) -> None:
    Text("p", f"{local(chapter.at)} UTC · {chapter.status}", "when")
    with inside("p", f"what tone-{chapter.tone}"):
        Text("span", chapter.title)
        if chapter.final:
            Text("span", " · the end", "")
    for detail in chapter.details:
        Text("p", detail)


def _decision(decision: Mapping[str, Any]) -> None:
    """Open, since it is what people come for."""
    with inside("details") as details:
        details.props("open")
        Text("summary", f"Why, by policy {decision['policy']}")
        decision_in_words(decision)


def decision_in_words(decision: Mapping[str, Any]) -> None:
    """The steps, each rule that was looked at, and what was known."""
    if decision["plan"]:
        Text("p", f"Steps: {steps_in_words(decision['plan'])}")
    with inside("ul", "trace"):
        for matched, because in reasons(decision):
            Text("li", f"{'✓' if matched else '·'} {because}", "is-matched" if matched else "")
    if known := facts_in_words(decision):
        Text("p", "Known then: " + "; ".join(known), "note")

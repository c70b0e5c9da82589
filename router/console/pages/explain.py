"""What would happen to a notification now, and why: a form; nothing is sent or stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from channels.model import Category, Lane
from router.console.office import Office
from router.console.pages.draw import Text, card, inside, tried
from router.console.pages.notification import decision_in_words

_ANY = "any"


class ExplainPage:
    """The form, and the answer below it."""

    def __init__(self, office: Office) -> None:
        self._office = office
        with card("Notification"):
            self._form = _Form(office)
            ui.button("Explain", on_click=self._explain)
        with card("What would happen now"):
            self._answer = ui.element("div").props("role=status")
            with self._answer:
                Text("p", "Fill in the form: nothing is sent or stored.", "empty")

    async def _explain(self) -> None:
        await tried(self._office, self._ask)

    async def _ask(self) -> None:
        decision = await self._office.ask("explain", self._form.request())
        self._answer.clear()
        with self._answer:
            Text("p", _outcome(decision), "what")
            decision_in_words(decision)


def _outcome(decision: Mapping[str, Any]) -> str:
    until = f" until {decision['until']}" if decision["until"] else ""
    message = f": {decision['message']}" if decision.get("message") else ""
    reason = f" ({decision['reason']})" if decision["reason"] != decision["outcome"] else ""
    return f"{decision['outcome'].capitalize()}{until}{reason}{message}"


class _Form:
    """The fields of a notification."""

    def __init__(self, office: Office) -> None:
        channels = sorted({channel for sender in office.senders.values() for channel in sender.channels})
        with inside("div", "fields"):
            self._to = ui.input("To: number or user id").props("outlined")
            self._region = ui.input("Country, for a national number").props("outlined maxlength=2")
            self._source = ui.input("Source", value="console").props("outlined")
            self._lane = ui.select([lane.value for lane in Lane], value="normal", label="Lane").props("outlined")
            categories = [category.value for category in Category]
            self._category = ui.select(categories, value="transactional", label="Category").props("outlined")
            self._channel = ui.select([_ANY, *channels], value=_ANY, label="Channel").props("outlined")
            self._template = ui.input("Template's name").props("outlined")
            self._media = ui.input("Media: https address").props("outlined")
            self._text = ui.textarea("Text").props("outlined autogrow").classes("wide")

    def request(self) -> dict[str, Any]:
        """As `pointsman.explain` takes it; what is empty is left out."""
        content = {
            "text": self._text.value or None,
            "media": [self._media.value] if self._media.value else None,
            "template": {"name": self._template.value} if self._template.value else None,
        }
        notification = {
            "id": "explain",
            "to": self._to.value or "",
            "region": (self._region.value or "").upper() or None,
            "category": self._category.value,
            "channel": None if self._channel.value == _ANY else self._channel.value,
            "content": {name: value for name, value in content.items() if value is not None},
        }
        return {
            "notification": {name: value for name, value in notification.items() if value is not None},
            "lane": self._lane.value,
            "source": self._source.value,
        }

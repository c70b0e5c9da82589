"""What is on record about one recipient: consent with its history, WhatsApp sessions, channels that fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from router.console.masking import masked
from router.console.office import Office
from router.console.pages.draw import Column, Table, Text, card, inside, person, toned, tried


class RecipientsPage:
    """Who is looked up stands in no address and no log."""

    def __init__(self, office: Office) -> None:
        self._office = office
        with card("Look up"):
            with inside("div", "row"):
                self._asked = ui.input("Phone number or user id").props("outlined").on("keydown.enter", self._look)
                self._region = ui.input("Country, for a national number").props("outlined maxlength=2")
                ui.button("Look up", on_click=self._look)
            self._words = Text("p", "", "note").props("role=status")
        with card("Consent"):
            columns = [
                Column("holds", "Now"),
                Column("scope", "Scope"),
                Column("state", "Statement"),
                Column("at", "Since (UTC)"),
                Column("via", "Through"),
                Column("proof", "Proof"),
            ]
            self._consent = Table(columns, "Nothing is on record.")
        with card("WhatsApp sessions"):
            columns = [Column("sender", "Sender"), Column("state", "Session"), Column("until", "Until (UTC)")]
            self._sessions = Table(columns, "None.")
        with card("Channels that do not reach them"):
            columns = [
                Column("channel", "Channel"),
                Column("why", "Why"),
                Column("at", "Learnt (UTC)"),
                Column("until", "Tried again after (UTC)"),
            ]
            self._unreachable = Table(columns, "None is known.")
        self._consent.show([])
        self._unreachable.show([])
        self._sessions.show([])

    async def _look(self) -> None:
        await tried(self._office, self._look_up)

    async def _look_up(self) -> None:
        office = self._office
        office.reveal(person(), "consent")
        request = {"recipient": (self._asked.value or "").strip(), "region": (self._region.value or "").upper()}
        answer = await office.ask("consent.get", request)
        self._words.set_text(f"{masked(answer['recipient'])}: {len(answer['history'])} statements on record.")
        self._consent.show(_statements(answer))
        known = await office.ask("reach.get", request)
        self._unreachable.show([_lesson(channel, each) for channel, each in known["unreachable"].items()])
        sessions = [await office.ask("session.get", {**request, "sender": each}) for each in office.whatsapp_senders]
        self._sessions.show([_session(each) for each in sessions])


def _statements(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The newest first; what holds now is marked."""
    return [
        {
            "key": index,
            "holds": toned("holds", "good") if each["holds"] else "before",
            "scope": each["scope"],
            "state": toned(each["state"].replace("_", " "), "bad" if each["state"] == "opted_out" else "good"),
            "at": each["at"][:19].replace("T", " "),
            "via": each["via"],
            "proof": each["proof"] or "",
        }
        for index, each in reversed(list(enumerate(answer["history"])))
    ]


def _lesson(channel: str, lesson: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": channel,
        "channel": channel,
        "why": lesson["why"],
        "at": lesson["at"][:19].replace("T", " "),
        "until": lesson["until"][:19].replace("T", " "),
    }


def _session(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": answer["sender"],
        "sender": answer["sender"],
        "state": toned("open", "good") if answer["open"] else "none",
        "until": (answer["expires_at"] or "—")[:19].replace("T", " "),
    }

"""What needs a person: the list, each with its story, and what a person can do about it, asked twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui import ui

from router.console.office import Office
from router.console.pages.draw import (
    LIVE,
    Cell,
    Column,
    Table,
    Text,
    card,
    every,
    facts,
    inside,
    link,
    person,
    say,
    to,
    tried,
)

_RESOLVE, _REPLAY = "deadletters.resolve", "deadletters.replay"
#: What can be done: its name, what it means, who does it, and what it is told besides.
_WAYS: tuple[tuple[str, str, str, Mapping[str, str]], ...] = (
    ("Replay", "It is given back to the router, which goes on where it stopped.", _REPLAY, {}),
    ("Resolve", "It counts as dealt with, and nothing more is done.", _RESOLVE, {}),
)
_HELD_WAYS: tuple[tuple[str, str, str, Mapping[str, str]], ...] = (
    ("It was sent", "Its story ends as sent, and nothing is sent again.", _RESOLVE, {"outcome": "sent"}),
    ("It was not sent", "Its story ends as failed, and nothing is sent again.", _RESOLVE, {"outcome": "not_sent"}),
    ("Send it again", "If it was sent after all, the recipient gets it twice.", _REPLAY, {}),
)
#: By the stage of attempts that only a person may resolve.
_PERSONAL = {
    "reconcile": _HELD_WAYS,
    "stuck": (*_HELD_WAYS[:2], ("Ask again", "The provider is asked once more how it ended.", _REPLAY, {})),
}


def draw_list(office: Office) -> None:
    """A page of them, the newest first, and a way to older ones."""
    before: str | None = None  #: the list ends with those older than this one
    oldest = ""  #: of those shown
    with card("Dead letters"):
        state = ui.select(["open", "replayed", "resolved", "all"], value="open", label="State").props("outlined")
        columns = [
            Column("letter", "Dead letter"),
            Column("at", "Since (UTC)"),
            Column("stage", "Stage"),
            Column("notification", "Notification"),
            Column("reason", "Reason"),
            Column("state", "State"),
        ]
        table = Table(columns, "Nothing needs a person.")
        words = Text("p", "", "note").props("role=status")
        with inside("div", "row"):
            newest = ui.button("Newest", on_click=lambda: turn(None)).props("outline")
            older = ui.button("Older", on_click=lambda: turn(oldest)).props("outline")
    seen: tuple[object, ...] = ()

    async def refresh() -> None:
        nonlocal seen, oldest
        count = (await office.backlog.read()).open_letters
        if seen == (wanted := (state.value, before, count)):
            return
        answer = await office.ask("deadletters.list", {"state": state.value, "before": before})
        seen, letters = wanted, answer["dead_letters"]
        oldest = letters[0]["dead_letter_id"] if letters else ""
        table.show([_row(letter) for letter in reversed(letters)])
        words.set_text(f"{answer['older']} older ones." if answer["older"] else "")
        older.set_visibility(bool(answer["older"]))
        newest.set_visibility(before is not None)

    async def turn(place: str | None) -> None:
        nonlocal before
        before = place
        await tried(office, refresh)

    state.on_value_change(lambda: turn(None))
    every(office, LIVE, refresh)


def _row(letter: Mapping[str, Any]) -> Mapping[str, Cell]:
    identity = letter["dead_letter_id"]
    return {
        "key": identity,
        "letter": to(identity[:8], f"/deadletters/{identity}"),
        "at": letter["recorded_at"][:19].replace("T", " "),
        "stage": letter["stage"],
        "notification": f"{letter['source']}/{letter['notification_id'] or 'no id'}",
        "reason": letter["reason"],
        "state": letter["state"],
    }


def draw_one(office: Office, identity: str) -> None:
    """One of them."""
    place = ui.element("div")

    async def show() -> None:
        letter = await office.ask("deadletters.show", {"id": identity})
        place.clear()
        with place:
            _letter(office, letter, lambda: tried(office, show))

    async def first() -> None:
        await tried(office, show)

    ui.timer(0.05, first, once=True)


def _letter(office: Office, letter: Mapping[str, Any], again: Callable[[], Awaitable[None]]) -> None:
    with card("What is wrong"):
        Text("p", letter["message"])
        facts(
            [
                ("State", letter["state"] + (f": {letter['note']}" if letter["note"] else "")),
                ("Stage, reason", f"{letter['stage']}, {letter['reason']}"),
                ("Since", letter["recorded_at"]),
                ("Came from", f"{letter['subject']}, sequence {letter['sequence']}"),
            ]
        )
        if letter["notification_id"]:
            name = f"{letter['source']}/{letter['notification_id']}"
            link(f"The story of {name}", f"/notification/{name}")
        _body(office, letter)
    with card("What you can do"):
        if not office.actions:
            Text("p", "This console is read-only: console.allow_actions is off. The command line can do it.", "note")
        elif letter["state"] == "resolved":
            Text("p", "Nothing: it was resolved.", "note")
        else:
            _actions(office, letter, again)


def _body(office: Office, letter: Mapping[str, Any]) -> None:
    shown = ui.element("div").props("role=status")

    async def show() -> None:
        async def ask() -> None:
            office.reveal(person(), "body", dead_letter_id=letter["dead_letter_id"])
            with shown:
                Text("pre", letter["body"])
            button.set_visibility(False)

        await tried(office, ask)

    with inside("p"):
        button = ui.button("Show its body", on_click=show).props("outline")


def _actions(office: Office, letter: Mapping[str, Any], again: Callable[[], Awaitable[None]]) -> None:
    identity, ways = letter["dead_letter_id"], _PERSONAL.get(letter["stage"])
    note = ui.input("A note for those who come after").props("outlined maxlength=1000").classes("wide")

    def button(label: str, question: str, what: str, extra: Mapping[str, str]) -> None:
        async def act() -> None:
            request = {"id": identity, "note": note.value, **extra}
            done = (await office.act(person(), what, request))["done"]
            say(f"Done: {done}.")
            await again()

        ui.button(label, on_click=lambda: _confirmed(office, label, question, act)).props("outline")

    with inside("div", "row"):
        if ways:
            Text("p", "Look at the provider whether it was sent, then say so here.", "wide")
        for label, question, what, extra in ways or _WAYS:
            button(label, question, what, extra)


async def _confirmed(office: Office, label: str, question: str, act: Callable[[], Awaitable[None]]) -> None:
    """Nothing happens at the first click."""
    with ui.dialog() as dialog, ui.card().props(f'role=alertdialog aria-label="{label}?"'):
        Text("h2", f"{label}?")
        Text("p", question)
        with inside("div", "row"):
            ui.button("Cancel", on_click=lambda: dialog.submit(False)).props("outline autofocus")
            ui.button(label, on_click=lambda: dialog.submit(True))
    if await dialog:
        await tried(office, act)
    dialog.delete()

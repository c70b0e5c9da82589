"""What the demo shows: a live table on a terminal, plain lines elsewhere, JSON where it was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from router.demo.tale import Tale, because

_COLOURS = {
    "delivered": "green",
    "read": "green",
    "suppressed": "yellow",
    "deferred": "yellow",
    "failed": "red",
    "undelivered": "red",
    "exhausted": "red",
    "rejected": "red",
    "expired": "red",
    "unknown": "red",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How one sample ended."""

    tale: Tale
    sent: int  #: messages that the provider accepted for its recipient
    problems: list[str]

    @property
    def ok(self) -> bool:
        """As it had to."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Summary:
    """How the whole demo ended."""

    endings: Sequence[Ending]
    seconds: float
    log: Path | None  #: kept where something did not end as it had to

    @property
    def ok(self) -> bool:
        """Every sample ended as it had to."""
        return all(ending.ok for ending in self.endings)


class Show(Protocol):
    """Told what happens, as it happens; a context for as long as something can."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Nothing more happens."""

    def said(self, line: str) -> None:
        """Something about the stage."""

    def told(self, tale: Tale) -> None:
        """The tale has one more event."""

    def ended(self, summary: Summary) -> None:
        """Everything is over."""


def show_on(console: Console, tales: Sequence[Tale], *, json_output: bool) -> Show:
    """The fitting one."""
    if json_output:
        return JsonShow(console)
    return LiveShow(console, tales) if console.is_terminal else LineShow(console)


class LineShow:
    """A line for each event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._arrow = _arrow(console)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        return None

    def said(self, line: str) -> None:
        """Print it."""
        self._console.print(line, highlight=False, soft_wrap=True)

    def told(self, tale: Tale) -> None:
        """Print the newest event, with the decision's sentence where it has one."""
        event = tale.events[-1]
        how = "" if tale.carried == "none" else f" {tale.carried} from {event.sender}"
        why = f": {because(event)}" if because(event) else ""
        line = f"{event.recorded_at:%H:%M:%S} {tale.sample.id:<16} {self._arrow} {event.status}{how}{why}"
        self._console.print(Text(line), soft_wrap=True)

    def ended(self, summary: Summary) -> None:
        """Print the table."""
        print_summary(self._console, summary)


class LiveShow:
    """One table whose rows grow; the final table takes its place."""

    def __init__(self, console: Console, tales: Sequence[Tale]) -> None:
        self._console = console
        self._tales = tales
        self._live = Live(get_renderable=self._table, console=console, transient=True, refresh_per_second=12)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._live.__exit__(kind, exc, tb)

    def said(self, line: str) -> None:
        """Above the table."""
        self._console.print(line, highlight=False)

    def told(self, tale: Tale) -> None:
        """The next refresh shows it."""

    def ended(self, summary: Summary) -> None:
        """Print the table."""
        print_summary(self._console, summary)

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE, expand=True)
        table.add_column("asked for", ratio=2)
        table.add_column("path so far", ratio=4)
        arrow = f" {_arrow(self._console)} "
        for tale in self._tales:
            table.add_row(tale.sample.asked, _coloured(tale, arrow))
        return table


class JsonShow:
    """One object for each sample, then the summary; a line each."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        return None

    def said(self, line: str) -> None:
        """Not part of the data."""

    def told(self, tale: Tale) -> None:
        """Said when it has ended."""

    def ended(self, summary: Summary) -> None:
        """Print everything."""
        for ending in summary.endings:
            self._line(_as_dict(ending))
        self._line(
            {
                "summary": True,
                "ok": summary.ok,
                "samples": len(summary.endings),
                "failed": sum(not ending.ok for ending in summary.endings),
                "seconds": round(summary.seconds, 2),
                "log": str(summary.log) if summary.log else None,
            }
        )

    def _line(self, value: dict[str, Any]) -> None:
        self._console.out(json.dumps(value), highlight=False)


def print_summary(console: Console, summary: Summary) -> None:
    """The table that a newcomer reads, and what to do where something went wrong."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, show_lines=False, padding=(0, 1, 1, 0))
    table.add_column("what was asked", ratio=5)
    table.add_column("what happened", ratio=5)
    table.add_column("why", ratio=10)
    table.add_column("", no_wrap=True)
    for ending in summary.endings:
        verdict = Text("ok", "green") if ending.ok else Text("not ok", "bold red")
        happened = Text(ending.tale.happened(), _COLOURS.get(ending.tale.path[-1] if ending.tale.path else "", ""))
        table.add_row(ending.tale.sample.asked, happened, Text(ending.tale.why()), verdict)
    console.print(table)
    for ending in summary.endings:
        for problem in ending.problems:
            console.print(Text(f"{ending.tale.sample.id}: {problem}", "red"))
    good = sum(ending.ok for ending in summary.endings)
    sent = sum(ending.sent for ending in summary.endings)
    console.print(
        f"{good} of {len(summary.endings)} ended as they had to, in {summary.seconds:.0f} s; "
        f"the simulated provider accepted {sent} messages.",
        highlight=False,
    )
    if summary.log:
        console.print(f"The log of the router and the simulator: {summary.log}", highlight=False, soft_wrap=True)


def _as_dict(ending: Ending) -> dict[str, Any]:
    tale = ending.tale
    return {
        "id": tale.sample.id,
        "asked": tale.sample.asked,
        "path": tale.path,
        "carried": tale.carried,
        "happened": tale.happened(),
        "why": tale.why(),
        "sent": ending.sent,
        "ok": ending.ok,
        "problems": ending.problems,
    }


def _coloured(tale: Tale, arrow: str) -> Text:
    statuses: Iterable[Text] = (Text(_with_carrier(tale, i), _COLOURS.get(s, "")) for i, s in enumerate(tale.path))
    return Text(arrow).join(statuses)


def _with_carrier(tale: Tale, index: int) -> str:
    """The status; a routed one says where to."""
    event = tale.events[index]
    return f"{event.status} ({event.channel} {event.form})" if event.status == "routed" else event.status


def _arrow(console: Console) -> str:
    return "→" if console.encoding.lower().startswith("utf") else "->"

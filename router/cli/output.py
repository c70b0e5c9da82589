"""What commands print: for people in colour and without full phone numbers, for programs as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from policies.explain import zones_in_words
from router.clock import utc_now

_STYLES: Mapping[str, str] = {
    "delivered": "green",
    "read": "bold green",
    "failed": "red",
    "undelivered": "red",
    "rejected": "red",
    "exhausted": "bold red",
    "suppressed": "yellow",
    "expired": "yellow",
    "canceled": "yellow",
    "unknown": "magenta",
    "deferred": "cyan",
}
_AGES = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))  #: seconds of each unit
_MATCHED, _PASSED = "●", "○"


def console(*, stderr: bool = False) -> Console:
    """For lines: never wrapped, never coloured by what rich believes to see in them."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False, markup=False)


def print_json(value: Any) -> None:
    """One document for people and programs alike."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_json_line(value: Any, file: TextIO | None = None) -> None:
    """One line for each event, at once, so that a pipe follows."""
    out = file or sys.stdout
    out.write(json.dumps(value, ensure_ascii=False) + "\n")
    out.flush()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[Text]:
    """Columns under their names; the last one is as wide as it likes, so that nothing is cut off."""
    cells = [head, *rows]
    *widths, _ = (max(map(len, column)) for column in zip(*cells, strict=True))
    for number, row in enumerate(cells):
        padded = (cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True))
        yield Text("  ".join(padded).rstrip(), "dim" if number == 0 else "")


def printable(text: str) -> str:
    """A text of unknown origin on one line: whatever a terminal would act upon is written out."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def ago(text: str) -> str:
    """How long an event's time has been past, to the unit that matters: "45s", "12m", "3h", "5d"."""
    seconds = max(0, int((utc_now() - datetime.fromisoformat(text)).total_seconds()))
    unit, size = next((unit, size) for unit, size in _AGES if seconds >= size or size == 1)
    return f"{seconds // size}{unit}"


def masked(address: str | None) -> str:
    """A recipient that can be recognised and not called: "+1501***2661"."""
    if address is None:
        return ""
    scheme, colon, rest = address.rpartition(":")
    kept = 5 if len(rest) >= 11 else 3
    return f"{scheme}{colon}{rest[:kept]}***{rest[-4:] if kept == 5 else rest[-2:]}"


def event_printer(*, as_json: bool, show_recipients: bool) -> Callable[[Mapping[str, Any]], None]:
    """Prints one delivery event a line, for people or for programs."""
    if as_json:
        return print_json_line
    screen = console()
    return lambda event: screen.print(event_line(event, show_recipient=show_recipients))


def event_line(event: Mapping[str, Any], *, show_recipient: bool) -> Text:
    """A delivery event in one line, what matters first."""
    return _line(event, f"{event['source']}/{event['notification_id']}  ", recipient_of(event, full=show_recipient))


def story_line(event: Mapping[str, Any]) -> Text:
    """The same where everybody knows which notification it is about."""
    return _line(event, "", "")


def recipient_of(event: Mapping[str, Any], *, full: bool) -> str:
    """Whom it is about, as far as may be shown."""
    return event["recipient"] or "" if full else masked(event["recipient"])


def _line(event: Mapping[str, Any], about: str, recipient: str) -> Text:
    # When it was recorded, not when it occurred: carriers report the latter to the minute, and a story runs forwards.
    at = local_time(event["recorded_at"])
    line = Text.assemble((f"{at:%H:%M:%S}.{at.microsecond // 1000:03}  ", "dim"), about)
    line.append(f"{event['status']:<11} ", _STYLES.get(event["status"], ""))
    return line.append("  ".join(part for part in (*_way(event), recipient, why(event)) if part))


def _way(event: Mapping[str, Any]) -> Iterator[str]:
    """Channel and form, sender, attempt: as far as there are any."""
    if event["channel"] != "none":
        yield "/".join(part for part in (event["channel"], event["form"]) if part)
    yield event["sender"] or ""
    if event["attempt"] > 1:
        yield f"attempt {event['attempt']}"


def why(event: Mapping[str, Any]) -> str:
    """The reason, and the provider's own words where it refused."""
    error = event["error"] or {}
    words = " ".join(str(error[key]) for key in ("class", "code", "message") if error.get(key))
    return ": ".join(part for part in (event["reason"], words) if part)


def local_time(text: str) -> datetime:
    """An event's time on the clock of whoever reads it."""
    return datetime.fromisoformat(text).astimezone()


def decision_lines(decision: Mapping[str, Any]) -> Iterator[Text]:
    """A decision in sentences: what would be tried, what was known, and everything that was looked at."""
    for number, step in enumerate(decision["plan"], 1):
        head = f"{number}. {step['channel']}/{step['form']} from {step['sender']}"
        yield Text(f"{head}: {step['because']}" if step.get("because") else head)
        if number < len(decision["plan"]) and (moves := _moves_on(step)):
            yield Text(f"   then {moves}", "dim")
    facts = {name: value for name, value in decision["facts"].items() if value or value is False}
    if zones := facts.get("timezones"):
        facts["timezones"] = zones_in_words(zones)
    known = ", ".join(f"{name} {_plain(value)}" for name, value in facts.items())
    if known:
        yield Text(f"known: {known}", "dim")
    for entry in decision["trace"]:
        mark, style = (_MATCHED, "") if entry["matched"] else (_PASSED, "dim")
        yield Text(f"{mark} {entry['rule']}: {entry['because']}", style)


def outcome_line(decision: Mapping[str, Any]) -> Text:
    """What was decided, in one line."""
    parts = [decision["reason"], f"until {decision['until']}" * bool(decision["until"])]
    line = Text.assemble((decision["outcome"], _STYLES.get(decision["outcome"], "bold")))
    said = ", ".join(part for part in parts if part and part != decision["outcome"])
    line.append(f" ({said})" if said else "")
    line.append(f", policy {decision['policy']}", "dim")
    message = "to be sent at once" if decision["plan"] else decision.get("message")
    return line.append(f": {message}" if message else "")


def _moves_on(step: Mapping[str, Any]) -> str:
    """What leads from this step to the next one, where the policy says more than that it fails."""
    silence = f"after {step['silence']:g} s without a delivery" if step.get("silence") else ""
    failures = f"after {', '.join(step['on'])}" if step.get("on") else ""
    return " or ".join(part for part in (silence, failures) if part)


def _plain(value: object) -> str:
    """A list or table of facts without the marks of a program."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
    return " ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)

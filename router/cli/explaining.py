"""`pointsman explain`: what would happen to a notification, and why."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from channels.address import zones_of
from channels.model import Lane
from channels.registry import PluginError, discover
from policies.engine import decide
from policies.explain import decision_as_dict
from policies.model import RecipientFacts
from router.cli.client import NoServerError, ask, connected
from router.cli.configuration import load_settings
from router.cli.errors import CommandError
from router.cli.output import console, decision_lines, outcome_line, print_json
from router.clock import utc_now
from router.policy import PolicyFileError, load_policy
from router.settings import NatsSettings, Settings
from router.wire import InvalidNotificationError, parse_notification

_STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class Question:
    """A notification as it would be published."""

    source: str
    lane: Lane
    notification: Mapping[str, Any]


def read(path: Path) -> dict[str, Any]:
    """A notification from a file or stdin. Raises `CommandError` for what is none."""
    try:
        value = json.loads(sys.stdin.read() if path == _STDIN else path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise CommandError(f"{path}: cannot be read: {exc.strerror}") from None
    except (ValueError, RecursionError) as exc:
        raise CommandError(f"{path}: no JSON that can be read: {exc}") from None
    if not isinstance(value, dict):
        raise CommandError(f"{path}: a notification is a JSON object")
    return value


def explain(question: Question, config: Path | None, nats: str | None, *, offline: bool, as_json: bool) -> None:
    """Print the decision of a router, or our own where there is none to ask."""
    settings, _ = load_settings(config, nats)
    decision = None if offline else asyncio.run(_ask(settings.nats, question))
    if decision is None:
        if not offline:
            typer.echo("no router answers: decided here, knowing nothing about the recipient", err=True)
        if settings.policy.bucket:
            typer.echo("the published policy is not looked up: decided by the shipped one", err=True)
        decision = _decide(settings, question)
    if as_json:
        print_json(decision)
        return
    screen = console()
    screen.print(outcome_line(decision))
    for line in decision_lines(decision):
        screen.print(line)
    for sentence in decision.get("waits", ()):
        screen.print(f"it would wait: {sentence}", markup=False)


async def _ask(settings: NatsSettings, question: Question) -> Mapping[str, Any] | None:
    """None when no router answers, or no NATS server either."""
    request = {"source": question.source, "lane": question.lane, "notification": question.notification}
    try:
        async with connected(settings) as js:
            return await ask(js, "explain", request)
    except NoServerError:
        return None


def _decide(settings: Settings, question: Question) -> Mapping[str, Any]:
    try:
        policy = load_policy(settings, discover())
        notification = parse_notification(json.dumps(question.notification).encode())
        request = notification.as_request(question.source, question.lane)
    except (PluginError, PolicyFileError, InvalidNotificationError) as exc:
        raise CommandError(str(exc)) from None
    facts = RecipientFacts(timezones=zones_of(request.recipient))  # what the number itself tells
    return decision_as_dict(decide(request, facts, policy, utc_now()))

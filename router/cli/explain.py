"""`pointsman explain`: what would happen to a notification, and why. Nothing is sent or stored."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.cli import options
from router.cli.errors import CommandError
from router.cli.notification import NotificationOptions, takes_notification

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.settings import NatsSettings, Settings

_STDIN = Path("-")


@takes_notification
def explain(
    given: NotificationOptions,
    document: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="JSON file of a notification; - for stdin.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="The same, as an option.")] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Decide here, knowing nothing about the recipient.")
    ] = False,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Say which way a notification would go, and why."""
    from router.cli import output

    settings, _ = options.load_settings(config, nats)
    decision = _decide(settings, given, _notification(given, document or file), offline=offline)
    if as_json:
        output.print_json(decision)
        return
    screen = output.console()
    screen.print(output.outcome_line(decision))
    for line in output.decision_lines(decision):
        screen.print(line)


def _notification(given: NotificationOptions, path: Path | None) -> dict[str, Any]:
    if path is None:
        return given.document()
    if given.to is not None:
        raise typer.BadParameter("give either --to or a file")
    try:
        text = sys.stdin.read() if path == _STDIN else path.read_text(encoding="utf-8")
        value = json.loads(text)
    except OSError as exc:
        raise CommandError(f"{path}: cannot be read: {exc.strerror}") from None
    except (ValueError, RecursionError) as exc:
        raise CommandError(f"{path}: no JSON: {exc}") from None
    if not isinstance(value, dict):
        raise CommandError(f"{path}: a notification is a JSON object")
    return value


def _decide(
    settings: Settings, given: NotificationOptions, notification: dict[str, Any], *, offline: bool
) -> Mapping[str, Any]:
    """By a router, who knows the recipient; by ourselves when there is none."""
    if not offline:
        decision = asyncio.run(_ask(settings.nats, given, notification))
        if decision is not None:
            return decision
        typer.echo("no router answers: decided here, knowing nothing about the recipient", err=True)
    return _decide_here(settings, given, notification)


async def _ask(
    settings: NatsSettings, given: NotificationOptions, notification: dict[str, Any]
) -> dict[str, Any] | None:
    """None when no router answers, or no NATS server either."""
    from router.cli.client import NoServerError, ask, connected

    request = {"source": given.source, "lane": given.lane, "notification": notification}
    try:
        async with connected(settings) as js:
            return await ask(js, "explain", request)
    except NoServerError:
        return None


def _decide_here(settings: Settings, given: NotificationOptions, notification: dict[str, Any]) -> Mapping[str, Any]:
    from channels.registry import PluginError, discover
    from policies.engine import decide
    from policies.explain import decision_as_dict
    from policies.model import RecipientFacts
    from router.app import StartError, load_policy
    from router.clock import utc_now
    from router.wire import InvalidNotificationError, parse_notification

    try:
        policy = load_policy(settings, discover())
        request = parse_notification(json.dumps(notification).encode()).as_request(given.source, given.lane)
    except (PluginError, StartError, InvalidNotificationError) as exc:
        raise CommandError(str(exc)) from None
    return decision_as_dict(decide(request, RecipientFacts(), policy, utc_now()))

"""The commands as their users see them: names, options, help. What each does stands in a module of its own.

That module is imported when its command runs, so that `pointsman --help` comes at once.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from router.cli import options
from router.cli.notification import NotificationOptions, takes_notification
from router.subjects import NAME, NOTIFICATION_ID, SOURCE

_STATUS = re.compile(r"[a-z]+")
PAUSABLE = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")

_Source = Annotated[str, typer.Argument(callback=options.matching(SOURCE), help="The publishing service.")]
_Id = Annotated[
    str, typer.Argument(metavar="ID", callback=options.matching(NOTIFICATION_ID), help="The notification's id.")
]


def demo(as_json: options.Json = False) -> None:
    """Show everything on this machine, with no account: NATS, the simulator, a router and sample traffic."""
    from router.cli import processes  # noqa: PLC0415 - see above

    processes.demo(as_json=as_json)


def run(
    roles: Annotated[
        str | None, typer.Option(metavar="A,B", help="Of intake, dispatch, webhooks, tracking; all when absent.")
    ] = None,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Run the router until SIGTERM or Ctrl-C, then drain; a second signal does not wait for that."""
    from router.cli import processes  # noqa: PLC0415 - see above

    processes.run(roles, config, nats)


def simulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for a free one.")] = 8026,
    inbound_url: Annotated[str | None, typer.Option(help="Where inbound messages are posted.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes SIDs, faults and delays repeatable.")] = None,
    faults: Annotated[Path | None, typer.Option(help="JSON file of faults.")] = None,
    settings: Annotated[Path | None, typer.Option(help="JSON file of any other settings.")] = None,
) -> None:
    """Run a Twilio of our own until SIGTERM or Ctrl-C; one line of JSON says where it listens."""
    from router.cli import processes  # noqa: PLC0415 - see above

    given = {"host": host, "port": port, "inbound-url": inbound_url, "seed": seed}
    processes.simulator(given | {"faults": faults, "settings": settings})


@takes_notification
def send(
    given: NotificationOptions,
    file: Annotated[Path | None, typer.Option(help="Send each row of a .csv or .jsonl file; each needs an id.")] = None,
    check_only: Annotated[bool, typer.Option("--check-only", help="Check, and publish nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow what becomes of it to the end.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds that --wait waits.")] = 60.0,
    show_recipients: options.ShowRecipients = False,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Publish a notification, or a file of them, and say so when NATS has it."""
    if file is not None and given.to is not None:
        raise typer.BadParameter("give either --to or --file")
    document = given.document() if file is None else {}
    from router.cli import sending  # noqa: PLC0415 - see above

    how = sending.How(given.source, given.lane, timeout if wait else None, as_json, show_recipients)
    if file is not None:
        sending.send_file(file, how, config, nats, check_only=check_only)
    else:
        sending.send_one(document, how, config, nats, check_only=check_only)


def watch(
    source: Annotated[
        str | None, typer.Option(callback=options.matching(SOURCE), help="Of this service alone.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(callback=options.matching(_STATUS), help="Of this status alone.")
    ] = None,
    channel: Annotated[str | None, typer.Option(callback=options.matching(NAME), help="Of this channel alone.")] = None,
    identity: Annotated[
        str | None,
        typer.Option("--id", callback=options.matching(NOTIFICATION_ID), help="Of this notification alone."),
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="10m", help="Begin so long ago (s, m, h, d).")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    show_recipients: options.ShowRecipients = False,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Follow delivery events until Ctrl-C."""
    back = options.duration(since) if since else None
    from router.cli import watching  # noqa: PLC0415 - see above

    shown = watching.Filter(source, status, channel, identity, back)
    watching.watch(shown, count, config, nats, as_json=as_json, show_recipients=show_recipients)


def trace(
    source: _Source,
    identity: _Id,
    show_recipients: options.ShowRecipients = False,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Tell what became of one notification, and why."""
    from router.cli import tracing  # noqa: PLC0415 - see above

    tracing.trace(source, identity, config, nats, as_json=as_json, show_recipients=show_recipients)


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
    """Say which way a notification would go, and why; nothing is sent or stored."""
    path = document or file
    if path is not None and given.to is not None:
        raise typer.BadParameter("give either --to or a file")
    stated = given.document() if path is None else {}
    from router.cli import explaining  # noqa: PLC0415 - see above

    question = explaining.Question(given.source, given.lane, stated if path is None else explaining.read(path))
    explaining.explain(question, config, nats, offline=offline, as_json=as_json)


def cancel(
    source: _Source,
    identity: _Id,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Take back what has not been sent, and say whether that came in time."""
    from router.cli import canceling  # noqa: PLC0415 - see above

    canceling.cancel(source, identity, config, nats, as_json=as_json)


def doctor(
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Look at configuration, policy, NATS, the provider's account, senders, templates and webhooks; change nothing."""
    from router.cli import examining  # noqa: PLC0415 - see above

    examining.examine_all(config, nats, as_json=as_json)


class Pausable(StrEnum):
    """What can be paused."""

    CATEGORY = "category"
    CHANNEL = "channel"
    SOURCE = "source"


_What = Annotated[Pausable, typer.Argument(help="What is named.")]
_Named = Annotated[str, typer.Argument(metavar="NAME", callback=options.matching(PAUSABLE), help="Which one.")]


def pause(
    what: _What,
    name: _Named,
    lasting: Annotated[str | None, typer.Option("--for", metavar="2h", help="It ends by itself (s, m, h, d).")] = None,
    defer: Annotated[bool, typer.Option("--defer", help="What it stops waits, in place of never being sent.")] = False,
    again: Annotated[str, typer.Option(metavar="5m", help="With --defer: how often it is asked again.")] = "5m",
    note: Annotated[str, typer.Option(help="Why, for whoever asks; 200 characters at most.")] = "",
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Stop a category, a channel or a source at once, in every router and without a restart."""
    ends = options.duration(lasting) if lasting else None
    pause_again = options.duration(again)
    from policies.pauses import Kind  # noqa: PLC0415 - see above
    from router.cli import pausing  # noqa: PLC0415 - see above

    pausing.pause(
        (Kind(what.value), name),
        config,
        nats,
        lasting=ends,
        defer=defer,
        again=pause_again,
        note=note[:200],
        as_json=as_json,
    )


def resume(what: _What, name: _Named, config: options.Config = None, nats: options.Nats = None) -> None:
    """Let go again what `pause` stopped; what was suppressed meanwhile stays so."""
    from policies.pauses import Kind  # noqa: PLC0415 - see above
    from router.cli import pausing  # noqa: PLC0415 - see above

    pausing.resume((Kind(what.value), name), config, nats)


def paused(as_json: options.Json = False, config: options.Config = None, nats: options.Nats = None) -> None:
    """List what is paused by `pause`."""
    from router.cli import pausing  # noqa: PLC0415 - see above

    pausing.show(config, nats, as_json=as_json)


class Document(StrEnum):
    """What `schema` can be asked for."""

    NOTIFICATION = "notification"
    DELIVERY = "delivery"
    INBOUND = "inbound"
    DEADLETTER = "deadletter"
    POLICY = "policy"
    ASYNCAPI = "asyncapi"
    OPENAPI = "openapi"
    ALL = "all"


def schema(
    name: Annotated[
        Document, typer.Argument(help="A schema, the AsyncAPI or OpenAPI document, or all.")
    ] = Document.ALL,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write files there, in place of printing.")] = None,
) -> None:
    """Print the contract for machines: JSON Schemas of messages and policies, AsyncAPI, OpenAPI."""
    from router.cli import documents  # noqa: PLC0415 - see above

    documents.show(None if name is Document.ALL else name.value, out)

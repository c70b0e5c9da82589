"""The commands that come in groups: dead letters, consent, policies. As in `commands`, each is done elsewhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from router.cli import options
from router.subjects import SOURCE

_Recipient = Annotated[str, typer.Argument(help="E.164, whatsapp:<user id>, or a national number with --region.")]
_Region = Annotated[str | None, typer.Option(help="How to read a national number: US, DE ...")]
_DeadLetterId = Annotated[str, typer.Argument(metavar="ID", help="Of the dead letter, as the list shows it.")]
_Note = Annotated[str | None, typer.Option(help="For whoever looks at it later; 1000 characters at most.")]


class ConsentState(StrEnum):
    """What a recipient may say."""

    OPTED_IN = "opted_in"
    OPTED_OUT = "opted_out"


class LetterState(StrEnum):
    """Which dead letters are listed."""

    OPEN = "open"
    REPLAYED = "replayed"
    RESOLVED = "resolved"
    ALL = "all"


def deadletters_list(
    stage: Annotated[
        str | None, typer.Option(callback=options.matching(SOURCE), help="Given up at this stage alone.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(callback=options.matching(SOURCE), help="Of this service alone.")
    ] = None,
    state: Annotated[LetterState, typer.Option(help="What was done about them.")] = LetterState.OPEN,
    before: Annotated[str | None, typer.Option(metavar="ID", help="Older than this one alone.")] = None,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """List what needs a person, oldest first."""
    from router.cli import deadletters  # noqa: PLC0415 - see above

    given = {"stage": stage, "source": source, "state": state.value, "before": before}
    deadletters.show_all(given, config, nats, as_json=as_json)


def deadletters_show(
    identity: _DeadLetterId,
    show_recipients: Annotated[
        bool, typer.Option("--show-recipients", help="Show recipients and contents in full.")
    ] = False,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Show the whole of one, and the story of its notification."""
    from router.cli import deadletters  # noqa: PLC0415 - see above

    deadletters.show(identity, config, nats, as_json=as_json, show_recipients=show_recipients)


def deadletters_replay(
    identity: _DeadLetterId,
    note: _Note = None,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Give one back to the router; doing so twice sends once."""
    from router.cli import deadletters  # noqa: PLC0415 - see above

    deadletters.act("replay", {"id": identity, "note": note}, config, nats, as_json=as_json)


class SentOrNot(StrEnum):
    """What became of an attempt that only a person can look up."""

    SENT = "sent"
    NOT_SENT = "not_sent"


def deadletters_resolve(
    identity: _DeadLetterId,
    outcome: Annotated[
        SentOrNot | None, typer.Option(help="What became of it; needed where an attempt is held.")
    ] = None,
    note: _Note = None,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Close one that has been dealt with."""
    from router.cli import deadletters  # noqa: PLC0415 - see above

    given = {"id": identity, "outcome": outcome.value if outcome else None, "note": note}
    deadletters.act("resolve", given, config, nats, as_json=as_json)


def consent_show(
    recipient: _Recipient,
    region: _Region = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="What held then; RFC 3339 with offset.")] = None,
    show_recipients: options.ShowRecipients = False,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Show what a recipient agreed to and objected to, what holds of it, and since when."""
    from router.cli import consent  # noqa: PLC0415 - see above

    given = {"recipient": recipient, "region": region, "at": at}
    consent.show(given, config, nats, as_json=as_json, show_recipients=show_recipients)


def consent_set(
    recipient: _Recipient,
    state: Annotated[ConsentState, typer.Argument(help="What they said.")],
    proof: Annotated[str, typer.Option(help="How it is known; where the evidence lies.")],
    scope: Annotated[str, typer.Option(help="all, channel:<name>, sender:<name> or category:<name>.")] = "all",
    who: Annotated[str | None, typer.Option(help="Who took the statement.")] = None,
    how: Annotated[str | None, typer.Option(help="web form, paper, telephone ...")] = None,
    text: Annotated[str | None, typer.Option(help="What the recipient was shown and agreed to.")] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="When; RFC 3339 with offset; default: now.")] = None,
    region: _Region = None,
    show_recipients: options.ShowRecipients = False,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Record an opt-in or opt-out that a recipient gave elsewhere."""
    from router.cli import consent  # noqa: PLC0415 - see above

    words = {"proof": proof, "who": who, "how": how, "text": text}
    given = {"recipient": recipient, "region": region, "state": state.value, "scope": scope, "at": at, **words}
    consent.record(given, config, nats, as_json=as_json, show_recipients=show_recipients)


def consent_import(
    file: Annotated[Path, typer.Argument(help="CSV with the columns recipient, state, at and others.")],
    state: Annotated[ConsentState | None, typer.Option(help="Of rows that name none.")] = None,
    scope: Annotated[str | None, typer.Option(help="Of rows that name none; else all.")] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="Of rows that name none; RFC 3339.")] = None,
    region: _Region = None,
    proof: Annotated[str | None, typer.Option(help="Of rows that name none.")] = None,
    check_only: Annotated[bool, typer.Option("--check-only", help="Check every row, and record nothing.")] = False,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Record a list of statements; importing it again adds only what is missing."""
    from router.cli import importing  # noqa: PLC0415 - see above

    given = {"state": state.value if state else None, "scope": scope, "at": at, "region": region, "proof": proof}
    defaults = {name: value for name, value in given.items() if value is not None}
    importing.import_file(file, importing.How(defaults, check_only, as_json), config, nats)


def consent_export(
    recipient: Annotated[str | None, typer.Option(help="Of this one alone.")] = None,
    region: _Region = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Said or recorded then or later; RFC 3339 with offset.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A new file; default: stdout.")] = None,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Write every statement with its proof, for an auditor: CSV, or a line of JSON each."""
    begin = options.moment(since) if since else None
    from router.cli import consent  # noqa: PLC0415 - see above

    consent.export({"recipient": recipient, "region": region}, begin, out, config, nats, as_json=as_json)


def policy_check(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A policy; when absent the configured one, or the shipped.")
    ] = None,
    as_json: options.Json = False,
    config: options.Config = None,
) -> None:
    """Prove a policy against the configuration; exit status 1 when there is something to look at."""
    from router.cli import policies  # noqa: PLC0415 - see above

    policies.check_policy(file, config, as_json=as_json)


def policy_diff(
    other: Annotated[Path, typer.Argument(help="The policy to compare with what was decided.")],
    since: Annotated[str, typer.Option(metavar="7d", help="Decisions of so long ago or later (s, m, h, d).")] = "7d",
    limit: Annotated[int, typer.Option(min=1, help="So many decisions at most, the oldest first.")] = 100_000,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Decide recorded traffic under another policy; exit status 1 when something would change."""
    back = options.duration(since)
    from router.cli import policies  # noqa: PLC0415 - see above

    policies.diff_policy(other, back, limit, config, nats, as_json=as_json)


def policy_publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The policy.")],
    note: Annotated[str, typer.Option(help="For whoever reads the history; 200 characters at most.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Although the check finds errors.")] = False,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Check a policy and put it in force in every router that reads the bucket."""
    from router.cli import publications  # noqa: PLC0415 - see above

    publications.publish(file, config, nats, note=note[:200], force=force, as_json=as_json)


def policy_show(
    number: Annotated[int | None, typer.Argument(min=1, help="Of the history; when absent the current one.")] = None,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Print a published policy."""
    from router.cli import publications  # noqa: PLC0415 - see above

    publications.show(number, config, nats, as_json=as_json)


def policy_history(as_json: options.Json = False, config: options.Config = None, nats: options.Nats = None) -> None:
    """List what was published, newest first."""
    from router.cli import publications  # noqa: PLC0415 - see above

    publications.history(config, nats, as_json=as_json)

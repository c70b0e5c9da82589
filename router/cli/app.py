"""What all commands have in common: exit status, and the one line that says what went wrong."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from router.cli import commands, groups
from router.cli.errors import CommandError

_INTERRUPTED = 130  #: what shells report for a process that SIGINT ended

#: Command and an example, in the order of the help page: the first thing somebody tries comes first.
_COMMANDS = (
    (commands.demo, "pointsman demo"),
    (commands.run, "pointsman run --config pointsman.toml --roles intake,dispatch"),
    (commands.send, "pointsman send --to +12025550143 --text 'Your order is on its way.' --wait"),
    (commands.watch, "pointsman watch --source shop --since 10m"),
    (commands.trace, "pointsman trace shop order-1042"),
    (commands.explain, "pointsman explain --to +919876543210 --text 'Your order is on its way.'"),
    (commands.cancel, "pointsman cancel shop order-1042"),
    (commands.pause, "pointsman pause category marketing --for 2h --note 'wrong prices'"),
    (commands.resume, "pointsman resume category marketing"),
    (commands.paused, "pointsman paused"),
    (commands.doctor, "pointsman doctor --config pointsman.toml"),
    (commands.simulator, "pointsman simulator --port 8026 --inbound-url http://127.0.0.1:8080/twilio/inbound"),
    (commands.schema, "pointsman schema all --out schemas/"),
)

#: Groups of commands: name, purpose, and of each command its name and an example.
_GROUPS = (
    (
        "deadletters",
        "What needs a person: look at it, give it back to the router, or close it.",
        (
            ("list", groups.deadletters_list, "pointsman deadletters list --stage reconcile --source shop"),
            ("show", groups.deadletters_show, "pointsman deadletters show ID"),
            ("replay", groups.deadletters_replay, "pointsman deadletters replay ID --note 'the account is mended'"),
            ("resolve", groups.deadletters_resolve, "pointsman deadletters resolve ID --outcome sent"),
        ),
    ),
    (
        "consent",
        "What recipients agreed to and objected to: show, record, import, export for an auditor.",
        (
            ("show", groups.consent_show, "pointsman consent show +12025550143 --at 2026-03-01T00:00:00Z"),
            ("set", groups.consent_set, "pointsman consent set +12025550143 opted_out --proof 'call of 1 March'"),
            ("import", groups.consent_import, "pointsman consent import opt-outs.csv --state opted_out"),
            (
                "export",
                groups.consent_export,
                "pointsman consent export --since 2026-01-01T00:00Z --out audit.csv",
            ),
        ),
    ),
    (
        "policy",
        "Check a policy, see what another one would change, and put one in force.",
        (
            ("check", groups.policy_check, "pointsman policy check policy.toml --config pointsman.toml"),
            ("diff", groups.policy_diff, "pointsman policy diff stricter.toml --since 24h"),
            ("publish", groups.policy_publish, "pointsman policy publish policy.toml --note 'quiet hours in France'"),
            ("show", groups.policy_show, "pointsman policy show 3"),
            ("history", groups.policy_history, "pointsman policy history"),
        ),
    ),
)


class Commands(TyperGroup):
    """A failure is one line on stderr and exit status 1; Ctrl-C ends quietly."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except CommandError as exc:
            typer.echo(f"error: {' '.join(str(exc).split())}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None


_HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    cls=Commands,
    epilog="Start with: pointsman demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would show local variables, and with them what is being sent
    context_settings=_HELP_OPTIONS,
)
for _command, _example in _COMMANDS:
    app.command(epilog=f"Example: {_example}")(_command)
for _group, _purpose, _members in _GROUPS:
    _typer = typer.Typer(no_args_is_help=True)
    for _name, _command, _example in _members:
        _typer.command(_name, epilog=f"Example: {_example}")(_command)
    app.add_typer(_typer, name=_group, help=_purpose)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - slow to import, and seldom asked for

        typer.echo(f"pointsman {version('pointsman')}")
        raise typer.Exit


@app.callback()
def _pointsman(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Pointsman: a notification in, the right message out, delivery events back."""


def main() -> None:
    """The console script's entry point."""
    app(prog_name="pointsman" if sys.argv[0].endswith("__main__.py") else None)

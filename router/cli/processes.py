"""`pointsman run`, `pointsman demo`, `pointsman simulator`: the commands that stay."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from router.cli import options
from router.cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.app import Router
    from router.settings import Settings

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(
    roles: Annotated[
        str | None, typer.Option(metavar="A,B", help="Of intake, dispatch, webhooks, tracking; all when absent.")
    ] = None,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Run the router until SIGTERM or Ctrl-C, then drain; a second Ctrl-C does not wait for that."""
    from router.app import ALL_ROLES, Router, StartError

    chosen = ALL_ROLES if roles is None else frozenset(role.strip() for role in roles.split(","))
    if unknown := chosen - ALL_ROLES:
        known = ", ".join(sorted(ALL_ROLES))
        raise typer.BadParameter(f"no role {min(unknown)!r}; there are {known}", param_hint="--roles")
    settings, environ = options.load_settings(config, nats)
    _configure_logs(settings, environ)
    try:
        with asyncio.Runner(loop_factory=_fast_loop()) as runner:
            runner.run(_serve(Router(settings, environ, chosen)))
    except StartError as exc:
        raise CommandError(str(exc)) from None


def _configure_logs(settings: Settings, environ: Mapping[str, str]) -> None:
    from router import logs

    logs.register_secrets(logs.secret_values(environ))
    logs.register_secrets(password for url in settings.nats.servers if (password := urlsplit(url).password))
    logs.configure(settings.logs.format, settings.logs.level)


async def _serve(router: Router) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def drain() -> None:
        # Whoever asks again does not want to wait for what is in flight: the next signal ends the process.
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, drain)
    await router.run(stop)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it runs, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def demo(as_json: options.Json = False) -> None:
    """Show everything on this machine, with no account: NATS, the simulator, a router and sample traffic."""
    from router.cli import output
    from router.demo import run_demo
    from router.embedded import EmbeddedServerError

    try:
        good = asyncio.run(run_demo(output.console(), json_output=as_json))
    except EmbeddedServerError as exc:
        raise CommandError(str(exc)) from None
    if not good:
        raise typer.Exit(1)


def simulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for a free one.")] = 8026,
    inbound_url: Annotated[str | None, typer.Option(help="Where inbound messages are posted.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes SIDs, faults and delays repeatable.")] = None,
    faults: Annotated[Path | None, typer.Option(help="JSON file of faults.")] = None,
    settings: Annotated[Path | None, typer.Option(help="JSON file of any other settings.")] = None,
) -> None:
    """Run a Twilio of our own, until SIGTERM or Ctrl-C; one line of JSON says where it listens."""
    from channels.twilio.simulator.__main__ import main

    given = {"--host": host, "--port": port, "--inbound-url": inbound_url, "--seed": seed}
    given |= {"--faults": faults, "--settings": settings}
    arguments = [f"{option}={value}" for option, value in given.items() if value is not None]
    raise typer.Exit(main(arguments))

"""`pointsman run`, `pointsman demo`, `pointsman simulator`: the commands that stay."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import typer
from rich.console import Console

from router import logs
from router.app import ALL_ROLES, Router, StartError
from router.cli.configuration import load_settings
from router.cli.errors import CommandError
from router.embedded import EmbeddedServerError
from router.settings import Settings

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(roles: str | None, config: Path | None, nats: str | None) -> None:
    """Run a router. Raises `CommandError` when it cannot start, with what its operator can do."""
    chosen = _roles(roles)
    settings, environ = load_settings(config, nats)
    _configure_logs(settings, environ)
    _spare_the_collector()
    try:
        with asyncio.Runner(loop_factory=_fast_loop()) as runner:
            runner.run(_serve(Router(settings, environ, chosen)))
    except StartError as exc:
        raise CommandError(str(exc)) from None


def _roles(given: str | None) -> frozenset[str]:
    chosen = ALL_ROLES if given is None else frozenset(role.strip() for role in given.split(","))
    if unknown := chosen - ALL_ROLES:
        known = ", ".join(sorted(ALL_ROLES))
        raise typer.BadParameter(f"no role {min(unknown)!r}; there are {known}", param_hint="--roles")
    return chosen


def _configure_logs(settings: Settings, environ: Mapping[str, str]) -> None:
    logs.register_secrets(logs.secret_values(environ))
    logs.register_secrets(password for url in settings.nats.servers if (password := urlsplit(url).password))
    logs.configure(settings.logs.format, settings.logs.level)


def _spare_the_collector() -> None:
    """A router makes many small values that die young and no cycles to speak of.

    With Python's defaults the collector takes a quarter of its time, mostly to look again at what was imported.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


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
    """The loop of uvloop where it runs, else asyncio's own."""
    if find_spec("uvloop") is None:
        return None
    loop: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return loop


def demo(*, as_json: bool) -> None:
    """Everything on this machine. Exit status 0 only when every sample ended as it should."""
    from router.demo import DemoError, run_demo  # noqa: PLC0415 - with the simulator: a router starts without it

    try:
        good = asyncio.run(run_demo(Console(), json_output=as_json))
    except (DemoError, EmbeddedServerError) as exc:
        raise CommandError(str(exc)) from None
    if not good:
        raise typer.Exit(1)


def simulator(given: Mapping[str, object]) -> None:
    """The simulator alone, with the options of `python -m channels.twilio.simulator`."""
    from channels.twilio.simulator.__main__ import main as simulate  # noqa: PLC0415 - a router starts without it

    raise typer.Exit(simulate([f"--{name}={value}" for name, value in given.items() if value is not None]))

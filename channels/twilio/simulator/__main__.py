"""`python -m channels.twilio.simulator`: the simulator alone."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from channels.twilio.simulator.process import run
from channels.twilio.simulator.settings import SimulatorSettings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m channels.twilio.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8026, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--inbound-url", help="where inbound messages are posted")
    parser.add_argument("--seed", type=int, help="makes SIDs, faults and delays repeatable")
    parser.add_argument("--faults", type=Path, help="JSON file of faults, as POST /simulator/faults takes them")
    parser.add_argument("--settings", type=Path, help="JSON file of any other settings of the simulated account")
    return parser


def _settings(arguments: argparse.Namespace) -> SimulatorSettings:
    """The settings file, over it the options. ValueError for what cannot be used, OSError for what cannot be read."""
    values = _object(arguments.settings) if arguments.settings else {}
    given = {"inbound_url": arguments.inbound_url, "seed": arguments.seed}
    values |= {name: value for name, value in given.items() if value is not None}
    if arguments.faults:
        values["faults"] = _object(arguments.faults)
    return SimulatorSettings.model_validate(values)


def _object(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object")  # noqa: TRY004 - a mistake in a file, as the parser's own
    return value


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return str(error)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 after a signal, 1 when it cannot listen, 2 for wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        settings = _settings(arguments)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {_why(error)}\n")
        return 2
    try:
        asyncio.run(run(settings, arguments.host, arguments.port))
    except (OSError, OverflowError) as error:
        sys.stderr.write(f"error: cannot listen: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Running commands as a user does, inside this process or in one of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from router.cli.app import app

#: Where nothing listens.
NOWHERE = "nats://127.0.0.1:1"


async def pointsman(*arguments: str, stdin: str | None = None) -> Result:
    """Run a command to its end, in a thread, so that what the test started goes on meanwhile."""
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, input=stdin)


async def start(*arguments: str, cwd: Path) -> asyncio.subprocess.Process:
    """Start a command as a process; the test stops it."""
    root = Path(__file__).parents[2]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "router.cli", *arguments),
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

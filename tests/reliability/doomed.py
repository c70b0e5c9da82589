"""Routers that die at a named point, and the settings under which others take their work over quickly."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Self

from router.crashpoints import CrashPoint
from tests.integration.harness import Harness, router_settings

ROOT = Path(__file__).parents[2]
ALL_ROLES = "intake,dispatch,webhooks,tracking"
ACK_WAIT = 2
#: Seconds from a death until somebody else has taken its work up: what is promised.
TAKEN_OVER_WITHIN = ACK_WAIT + 5
_BOUND = 45.0  #: seconds that a start or a death may take

SETTINGS: dict[str, Any] = {
    "dispatch": {"ack_wait": ACK_WAIT, "timeout": 1, "lease": 2, "drain": 5, "orphaned_after": 1},
    "reconcile": {"wait": 1, "settle": 3},
    "retry": {"base": 0.05, "cap": 0.2},
}


class DoomedRouter:
    """A process that kills itself at its crash point."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls,
        harness: Harness,
        folder: Path,
        point: CrashPoint,
        *,
        nth: int = 1,
        roles: str = ALL_ROLES,
        **sections: Any,
    ) -> Self:
        """Start it on the port that the provider calls; it is ready then, or gone already where work waited for it."""
        file = folder / "doomed.json"
        file.write_text(json.dumps(router_settings(harness.server.url, harness.port, **{**SETTINGS, **sections})))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.reliability.crash_router", str(file), point, str(nth), roles),
            cwd=ROOT,
            env={**os.environ, **harness.environ},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        doomed = cls(process)
        assert process.stdout is not None
        async with asyncio.timeout(_BOUND):
            async for line in process.stdout:
                if line == b"ready\n":
                    break
            else:
                status = await process.wait()
                assert status == -signal.SIGKILL, f"it ended before it was ready: {status}"
        await harness.watch()
        return doomed

    def freeze(self) -> None:
        """SIGSTOP: it lives, and says and does nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on in the middle of whatever it was doing."""
        self._process.send_signal(signal.SIGCONT)

    async def died(self) -> float:
        """The loop's time at which it was seen dead; it fails when it died of anything but its crash point."""
        async with asyncio.timeout(_BOUND):
            status = await self._process.wait()
        assert status == -signal.SIGKILL, f"it ended with {status}"
        return asyncio.get_running_loop().time()

    async def close(self) -> None:
        """Whatever state it is in."""
        if self._process.returncode is None:
            self._process.kill()
        assert self._process.stdout is not None
        await self._process.stdout.read()
        await self._process.wait()

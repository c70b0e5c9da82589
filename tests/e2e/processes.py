"""Routers as processes, to be killed and stopped as an operating system does it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Self

from tests.integration.harness import Harness, router_settings

ROOT = Path(__file__).parents[2]
BOUND = 45.0  # seconds that a start or an end may take


class RouterProcess:
    """One router of its own process, in front of the harness's NATS server and simulator."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.instance = ""

    @classmethod
    async def start(cls, harness: Harness, folder: Path, *, port: int | None = None) -> Self:
        """Start it and wait until it is ready; the first one takes the port that the provider calls."""
        port = port or harness.reserve_port()
        file = folder / f"settings-{port}.json"
        file.write_text(json.dumps(router_settings(harness.server.url, port)))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.e2e.run_router", str(file)),
            cwd=ROOT,
            env={**os.environ, **harness.environ},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        router = cls(process)
        await router._until_ready()
        await harness.watch()
        return router

    async def _until_ready(self) -> None:
        assert self._process.stdout is not None
        async with asyncio.timeout(BOUND):
            async for line in self._process.stdout:
                if line.startswith(b"ready "):
                    self.instance = line.split()[1].decode()
                    return
        raise AssertionError(f"the router ended with {await self._process.wait()}")

    async def kill(self) -> None:
        """SIGKILL: no last words."""
        self._process.kill()
        await self._ended()

    async def terminate(self) -> int:
        """SIGTERM; the exit status, once it has drained."""
        self._process.terminate()
        return await self._ended()

    async def _ended(self) -> int:
        assert self._process.stdout is not None
        async with asyncio.timeout(BOUND):
            await self._process.stdout.read()
            return await self._process.wait()

    async def close(self) -> None:
        """Whatever state it is in."""
        if self._process.returncode is None:
            await self.kill()

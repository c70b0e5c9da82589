"""Three NATS servers on loopback that form one JetStream cluster; each can be killed and started again."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import nats
from nats.errors import Error as NatsError

from router.embedded import EmbeddedNats

_ELECTED_WITHIN = 60.0  #: seconds until streams can be made


class NatsCluster:
    """`async with NatsCluster() as cluster: cluster.urls`."""

    def __init__(self, *, ports: list[int], store: Path | None = None, extra_config: str = "") -> None:
        """`ports`: a free port for each server to reach the others by; their number is that of the servers."""
        self._own_store = store is None
        self.store = store or Path(tempfile.mkdtemp(prefix="pointsman-cluster-"))
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.nodes = {
            f"n{number}": EmbeddedNats(
                store=self.store / f"n{number}",
                extra_config=f'server_name: "n{number}"\n'
                f'cluster {{ name: "pointsman", listen: "127.0.0.1:{port}", routes: [{routes}] }}\n{extra_config}',
            )
            for number, port in enumerate(ports, 1)
        }

    async def __aenter__(self) -> NatsCluster:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def urls(self) -> list[str]:
        """Of all servers."""
        return [node.url for node in self.nodes.values()]

    async def start(self) -> None:
        """Start all and wait until they have a leader among them."""
        await asyncio.gather(*(node.start() for node in self.nodes.values()))
        await self._until_led()

    async def stop(self) -> None:
        """Stop all and remove what they stored."""
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))
        if self._own_store:
            shutil.rmtree(self.store, ignore_errors=True)

    async def leader(self, stream: str) -> str:
        """Name of the server that leads this stream now, or after the election that is under way."""
        async with asyncio.timeout(_ELECTED_WITHIN):
            while not (leader := (await self._ask(f"$JS.API.STREAM.INFO.{stream}")).get("cluster", {}).get("leader")):
                await asyncio.sleep(0.1)
        return str(leader)

    async def end(self, name: str, how: signal.Signals) -> None:
        """Send one server this signal and wait until it is gone: SIGKILL, SIGTERM, or SIGUSR2 to retire."""
        self.nodes[name].signal(how)
        await self.nodes[name].wait()

    async def _until_led(self) -> None:
        """Until all of them can be given a copy of a stream."""
        probe = {"name": "PROBE", "subjects": ["probe"], "num_replicas": len(self.nodes), "storage": "memory"}
        async with asyncio.timeout(_ELECTED_WITHIN):
            while True:
                try:
                    if "error" not in await self._ask("$JS.API.STREAM.CREATE.PROBE", probe):
                        await self._ask("$JS.API.STREAM.DELETE.PROBE")
                        return
                except (NatsError, TimeoutError, OSError):
                    pass  # not yet: there is no leader to answer
                await asyncio.sleep(0.2)

    async def _ask(self, subject: str, request: dict[str, Any] | None = None) -> Any:
        client = await nats.connect(self.urls, error_cb=_ignore)
        try:
            return json.loads(
                (await client.request(subject, json.dumps(request).encode() if request else b"", timeout=2)).data
            )
        finally:
            await client.close()


async def _ignore(_error: Exception) -> None:
    """A server that is away is why it is asked again."""

"""A wire to NATS that can go dead without breaking: what is sent stays under way, in one direction or in both."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """`async with Proxy(server.url) as wire: ... wire.url`; new connections are accepted and as dead as the others."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self.url = ""
        self.connections = 0  #: that were made so far
        self._to_server, self._to_client = asyncio.Event(), asyncio.Event()
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.mend()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def kill(self, *, to_server: bool = True, to_client: bool = True) -> None:
        """From now on nothing comes through in these directions."""
        if to_server:
            self._to_server.clear()
        if to_client:
            self._to_client.clear()

    def mend(self) -> None:
        """What is under way arrives, late."""
        self._to_server.set()
        self._to_client.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection(self._host, self._port)
        for source, sink, way in ((reader, back, self._to_server), (there, writer, self._to_client)):
            task = asyncio.create_task(_carry(source, sink, way))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: asyncio.Event) -> None:
    """Until one end closes; the other end hears of it only when the wire is alive."""
    try:
        while True:
            await way.wait()
            data = await source.read(65_536)
            await way.wait()
            if not data:
                break
            sink.write(data)
            await sink.drain()
    except OSError:
        pass  # the other end is gone: so is this one
    finally:
        sink.close()

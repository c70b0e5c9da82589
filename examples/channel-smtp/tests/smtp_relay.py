"""A mail server whose answers a test chooses: as much of SMTP as one transaction needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Relay:
    """Answers by verb; after the data, `after_data`: a reply, or None for silence, or "" for a dropped connection."""

    replies: Mapping[str, str] = field(default_factory=dict)
    after_data: str | None = "250 2.0.0 queued"
    cut: bool = False  #: drop the connection after what `after_data` says
    transactions: int = 0  #: how often a message was handed over, or would have been
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            await self._talk(reader, writer)
        except ConnectionError:
            return
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = self.replies.get("", "220 relay.example.com ready")
        self.transactions += not greeting.startswith("220")
        await _say(writer, greeting)
        while line := (await reader.readline()).decode(errors="replace").strip():
            verb = line.split(" ")[0].split(":")[0].upper()
            reply = self.replies.get(
                verb, {"EHLO": "250 relay.example.com", "DATA": "354 go on"}.get(verb, "250 2.0.0 ok")
            )
            self.transactions += verb in self.replies or verb == "DATA"
            await _say(writer, reply)
            if verb == "DATA":
                await reader.readuntil(b"\r\n.\r\n")
                await self._answer_data(writer)
                if self.after_data is None:
                    await reader.read()  # until the other side gives up
                    return
                if self.cut or not self.after_data:
                    return

    async def _answer_data(self, writer: asyncio.StreamWriter) -> None:
        if self.after_data:
            writer.write(self.after_data.encode() if self.cut else f"{self.after_data}\r\n".encode())
            await writer.drain()


async def _say(writer: asyncio.StreamWriter, reply: str) -> None:
    writer.write(f"{reply}\r\n".encode())
    await writer.drain()


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[Relay]:
    """Serve it on a loopback port."""
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()

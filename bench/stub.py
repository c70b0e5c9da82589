"""A provider that costs next to nothing: answers every request for a message as Twilio does, and remembers little.

Where nginx is installed it is nginx with one worker, as cheap as a server gets. Otherwise, and wherever arrivals have
to be recorded, it is the server below: one process, no HTTP library, the shortest parser that these requests allow.

    python -m bench.stub --port 8081            # by hand: prints nothing, answers until SIGTERM
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import uvloop

from bench.measure import program
from bench.processes import Process, free_port

#: As long as Twilio's own answer; the SID is put in.
ANSWER = json.dumps(
    {
        "account_sid": "AC00000000000000000000000000000000",
        "api_version": "2010-04-01",
        "body": "Hello Ana, your order 4711 is on its way and arrives on Monday between 9 and 12.",
        "date_created": "Fri, 20 Nov 2026 12:00:00 +0000",
        "date_sent": None,
        "date_updated": "Fri, 20 Nov 2026 12:00:00 +0000",
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": "+15017122661",
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": "USD",
        "sid": "SM%s",
        "status": "queued",
        "subresource_uris": {"media": "/2010-04-01/Accounts/AC0/Messages/SM0/Media.json"},
        "to": "+12025550143",
        "uri": "/2010-04-01/Accounts/AC0/Messages/SM0.json",
    }
)
_HEADERS = "Content-Type: application/json\r\nTwilio-Request-Id: RQ0\r\nTwilio-Concurrent-Requests: 1\r\n"

_NGINX = """
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.err crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 100000000;
  default_type application/json;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /count {{ stub_status; }}
    location / {{
      add_header Twilio-Request-Id RQ0 always;
      add_header Twilio-Concurrent-Requests 1 always;
      return 201 '{answer}';
    }}
  }}
}}
"""


class Stub:
    """The provider in a process of its own: `async with Stub(directory) as stub: stub.url`."""

    def __init__(self, directory: Path, *, record: bool = False, own: bool = False) -> None:
        """`record`: keep what arrived and when. `own`: not nginx, although it is there."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._record = record
        self._nginx = None if own or record else program("nginx")
        self._asked = 0
        self._directory = directory
        self._process: Process | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Stub:
        self._process = Process("stub", self._command(), self._directory / "stub.log")
        self._session = aiohttp.ClientSession()
        try:
            await self._process.start()
            async with asyncio.timeout(15):
                while not await self._answers():
                    await asyncio.sleep(0.02)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        assert self._process is not None
        assert self._session is not None
        await self._session.close()
        await self._process.stop()

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def kind(self) -> str:
        """What it is made of."""
        return "nginx" if self._nginx else "bench.stub"

    async def count(self) -> int:
        """Messages that it was asked to send so far."""
        text = await self._get("/count")
        if not self._nginx:
            return int(text)
        self._asked += 1
        return int(text.splitlines()[2].split()[2]) - self._asked

    async def arrivals(self) -> list[dict[str, Any]]:
        """With `record`: each message's form, SID and moment of arrival (`time.monotonic`), and forget them."""
        rows: list[dict[str, Any]] = json.loads(await self._get("/arrivals"))
        return rows

    async def _get(self, path: str) -> str:
        assert self._session is not None
        async with self._session.get(self.url + path) as answer:
            answer.raise_for_status()
            return await answer.text()

    async def _answers(self) -> bool:
        try:
            await self.count()
        except aiohttp.ClientConnectionError:
            return False
        return True

    def _command(self) -> list[str]:
        if self._nginx is None:
            record = ["--record"] if self._record else []
            return [sys.executable, "-m", "bench.stub", "--port", str(self.port), *record]
        config = self._directory / "nginx.conf"
        answer = ANSWER % "$request_id"
        config.write_text(_NGINX.format(directory=self._directory, port=self.port, answer=answer))
        return [self._nginx, "-c", str(config), "-e", str(self._directory / "nginx.err")]


class _Provider:
    """What the server knows: how many messages came and, where it records, which and when."""

    def __init__(self, *, record: bool) -> None:
        self._count = 0
        self._arrivals: list[tuple[float, str, bytes]] | None = [] if record else None

    def answer(self, path: bytes, body: bytes) -> bytes:
        """One request."""
        if path == b"/count":
            return _as_http(200, str(self._count))
        if path == b"/arrivals":
            return _as_http(200, self._drained())
        self._count += 1
        sid = f"{self._count:032x}"
        if self._arrivals is not None:
            self._arrivals.append((time.monotonic(), f"SM{sid}", body))
        return _as_http(201, ANSWER % sid)

    def _drained(self) -> str:
        if self._arrivals is None:
            return "[]"
        rows = [
            {"at": at, "sid": sid, "form": {name: values[0] for name, values in parse_qs(body.decode()).items()}}
            for at, sid, body in self._arrivals
        ]
        self._arrivals.clear()
        return json.dumps(rows)


class _Connection(asyncio.Protocol):
    """Requests one after the other, each with a Content-Length: what HTTP clients send to Twilio."""

    def __init__(self, provider: _Provider) -> None:
        self._provider = provider
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n") + 4) > 3:
            head = self._buffer[:end]
            _, found, rest = head.lower().partition(b"\r\ncontent-length:")
            whole = end + (int(rest.partition(b"\r\n")[0]) if found else 0)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end:whole], self._buffer[whole:]
            self._transport.write(self._provider.answer(head.split(b" ", 2)[1], body))


def _as_http(status: int, body: str) -> bytes:
    return f"HTTP/1.1 {status} OK\r\n{_HEADERS}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def _serve(port: int, *, record: bool) -> None:
    provider = _Provider(record=record)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: _Connection(provider), "127.0.0.1", port, backlog=4096)
    await stop.wait()
    server.close()


def main() -> None:
    """Answer until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.stub", description="A provider that costs next to nothing.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--record", action="store_true", help="keep what arrives, for GET /arrivals")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(options.port, record=options.record))


if __name__ == "__main__":
    main()

"""A real HTTP server on the loopback that answers as Twilio would, one scripted answer after another."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from aiohttp import web

ACCOUNT = "AC00000000000000000000000000000001"
AUTH_TOKEN = "auth-token-of-the-tests"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    form: Mapping[str, list[str]]
    headers: Mapping[str, str]


@dataclass(slots=True)
class Server:
    """`script` is used up answer by answer; after it, `default` answers."""

    url: str = ""
    default: Answer | None = None
    script: deque[Answer] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)

    def calls(self) -> int:
        return len(self.seen)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode()
        query = {name: request.query.getall(name) for name in request.query}
        form = parse_qs(body, keep_blank_values=True, strict_parsing=bool(body))
        self.seen.append(Seen(request.method, request.path, query, form, request.headers))
        answer = self.script.popleft() if self.script else self.default
        assert answer is not None, "a request that the test did not expect"
        return await answer(request)


@asynccontextmanager
async def running(*script: Answer, default: Answer | None = None) -> AsyncIterator[Server]:
    server = Server(default=default, script=deque(script))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


def answer_json(status: int, body: object, headers: Mapping[str, str] | None = None) -> Answer:
    return answer_text(status, json.dumps(body), headers)


def answer_text(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers=headers)

    return answer


def a_resource(number: int = 1, /, **fields: object) -> dict[str, object]:
    """A message as the API shows it."""
    resource: dict[str, object] = {
        "sid": f"SM{number:032}",
        "account_sid": ACCOUNT,
        "status": "queued",
        "body": "Hello",
        "to": "+15017122661",
        "from": "+15558675310",
        "direction": "outbound-api",
        "num_segments": "1",
        "num_media": "0",
        "messaging_service_sid": None,
        "date_created": "Mon, 23 Nov 2026 10:00:00 +0000",
        "date_updated": "Mon, 23 Nov 2026 10:00:05 +0000",
        "date_sent": None,
        "error_code": None,
        "error_message": None,
        "price": None,
        "price_unit": "USD",
    }
    return resource | fields


def accept_all() -> Answer:
    """A new message for every request, as it was asked for."""
    numbers = iter(range(1, 1_000_000))

    async def answer(request: web.Request) -> web.Response:
        form = await request.post()
        resource = a_resource(next(numbers), body=form.get("Body"), to=form.get("To"))
        return web.json_response(resource, status=201, headers={"Twilio-Request-Id": "RQ1"})

    return answer


def refuse(status: int, code: int, echo: bool = True) -> Answer:
    """A refusal in Twilio's format whose words repeat what was sent, as real ones do."""

    async def answer(request: web.Request) -> web.Response:
        form = await request.post()
        words = f"refused: {dict(form)}" if echo else "refused"
        return web.json_response({"code": code, "message": words, "more_info": "", "status": status}, status=status)

    return answer


async def stall(_request: web.Request) -> web.StreamResponse:
    """Read the request and say nothing until the client has gone."""
    await asyncio.Event().wait()
    raise AssertionError


async def disconnect(request: web.Request) -> web.StreamResponse:
    """Read the request and drop the connection."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def truncate(request: web.Request) -> web.StreamResponse:
    """Drop the connection in the middle of a success."""
    response = web.StreamResponse(status=201, headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"sid": "SM')
    assert request.transport is not None
    request.transport.close()
    return response

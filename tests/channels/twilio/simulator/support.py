"""What the simulator's tests share: a webhook that keeps what it gets, and clients of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from channels.twilio.simulator import NO_DELAYS, Faults, Simulator, SimulatorSettings

US = "+15551230001"
SENDER = "+15017122661"
WA_SENDER = "whatsapp:+15017122661"
WA_RECIPIENT = "whatsapp:+447700900123"
SERVICE = "MG" + "a" * 32
TEMPLATE = "HX" + "b" * 32
BOUND = 30.0  # seconds that any condition may take


@dataclass
class Hook:
    """One webhook request."""

    path_qs: str
    fields: dict[str, str]
    headers: dict[str, str]

    @property
    def status(self) -> str:
        return self.fields.get("MessageStatus", "")


class Webhook:
    """A webhook on loopback: answers with the statuses scripted, then with 204."""

    def __init__(self) -> None:
        self.hooks: list[Hook] = []
        self.answers: list[web.Response] = []
        self.url = ""
        self._arrived = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        form = await request.post()
        fields = {name: str(value) for name, value in form.items()}
        async with self._arrived:
            self.hooks.append(Hook(str(request.rel_url), fields, dict(request.headers)))
            self._arrived.notify_all()
        return self.answers.pop(0) if self.answers else web.Response(status=204)

    async def first(self, count: int) -> list[Hook]:
        """The first so many requests, once they are there."""
        async with asyncio.timeout(BOUND), self._arrived:
            await self._arrived.wait_for(lambda: len(self.hooks) >= count)
        return self.hooks[:count]

    async def statuses(self, count: int) -> list[str]:
        return [hook.status for hook in await self.first(count)]

    def is_signed(self, hook: Hook, token: str) -> bool:
        signature = hook.headers["X-Twilio-Signature"]
        return bool(RequestValidator(token).validate(self.url + hook.path_qs, hook.fields, signature))


async def until(condition: Callable[[], bool]) -> None:
    """Wait, for a bounded time, until the condition holds."""
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.002)


def settings(**changes: Any) -> SimulatorSettings:
    """Seeded and without delays."""
    return SimulatorSettings(**{"seed": 7, "delays": NO_DELAYS, "retry_pause": 0.01} | changes)


def faults(**changes: Any) -> Faults:
    return Faults(**changes)


@dataclass
class Answer:
    """An API answer, as it came."""

    status: int
    json: dict[str, Any]
    headers: dict[str, str]

    @property
    def code(self) -> int | None:
        return self.json.get("code")


class Api:
    """The API without the SDK, where a test needs to see the wire."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.account = f"/2010-04-01/Accounts/{simulator.settings.account_sid}"
        auth = aiohttp.encode_basic_auth(simulator.settings.account_sid, simulator.settings.auth_token)
        self.session = aiohttp.ClientSession(headers={"Authorization": auth})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        async with self.session.request(method, self.simulator.base_url + path, **options) as response:
            body = await response.json() if response.status != 204 else {}
            return Answer(response.status, body, dict(response.headers))

    async def create(self, **form: Any) -> Answer:
        """POST a message; the names are the form's own."""
        return await self.request("POST", f"{self.account}/Messages.json", data=form)

    async def text(self, to: str = US, **form: Any) -> Answer:
        """A plain text from SENDER."""
        return await self.create(**{"To": to, "From": SENDER, "Body": "hi"} | form)

    async def whatsapp(self, to: str = WA_RECIPIENT, **form: Any) -> Answer:
        return await self.create(**{"To": to, "From": WA_SENDER} | form)

    async def control(self, name: str, body: object = None) -> Answer:
        if body is None:
            return await self.request("GET", f"/simulator/{name}")
        return await self.request("POST", f"/simulator/{name}", json=body)


def sdk(simulator: Simulator, http_client: AsyncTwilioHttpClient) -> Client:
    """The real SDK, pointed at the simulator."""
    client = Client(simulator.settings.account_sid, simulator.settings.auth_token, http_client=http_client)
    client.api.base_url = simulator.base_url
    client.content.base_url = simulator.base_url
    return client


Start = Callable[..., Awaitable[Api]]

"""The door as an ASGI app: who comes in, who is turned away, and with which headers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest

from router.console.access import COOKIE, Sessions
from router.console.door import Door, login_page
from router.http import Receive, Scope, Send
from router.settings import ConsoleSettings

NOW = 1_000_000_000.0
TOKENS = {"ada": "a" * 20}
SESSIONS = Sessions(TOKENS)
ORIGIN = {"host": "ops.example.com", "origin": "https://ops.example.com"}


@dataclass
class Site:
    """What is behind the door: it says who came in."""

    visitors: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        self.visitors.append(scope["state"]["person"].name)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str


class House:
    """A site behind a door."""

    def __init__(self, sessions: Sessions | None = SESSIONS, **settings: Any) -> None:
        self.site = Site()
        self.now = NOW
        self.door = Door(self.site, ConsoleSettings(**settings), sessions, lambda: self.now)

    async def ask(
        self, path: str, method: str = "GET", body: str = "", kind: str = "http", **headers: str
    ) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body.encode(), "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        given = {"host": "ops.example.com", "content-length": str(len(body)), **headers}
        scope: dict[str, Any] = {
            "type": kind,
            "path": path.partition("?")[0],
            "query_string": path.partition("?")[2].encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
        }
        await self.door({**scope, "method": method} if kind == "http" else scope, receive, send)
        return sent

    async def get(self, path: str = "/", method: str = "GET", body: str = "", **headers: str) -> Answer:
        start, *rest = await self.ask(path, method, body, **headers)
        decoded = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], decoded, b"".join(part["body"] for part in rest).decode())

    async def log_in(self, token: str, path: str = "/login?next=/queues") -> Answer:
        return await self.get(path, "POST", urlencode({"token": token}), **ORIGIN)


def cookie() -> str:
    return f"{COOKIE}={SESSIONS.begin('ada', NOW)}"


async def test_who_is_not_known_is_led_to_the_login() -> None:
    house = House()
    answer = await house.get("/queues", accept="text/html")
    assert (answer.status, answer.headers["location"]) == (303, "/login?next=/queues")
    assert (await house.get("/_nicegui/x.js")).status == 401
    assert house.site.visitors == []


async def test_a_token_opens_and_the_cookie_is_kept_from_scripts_and_other_sites() -> None:
    house = House()
    answer = await house.log_in("a" * 20)
    assert (answer.status, answer.headers["location"]) == (303, "/queues")
    said = answer.headers["set-cookie"]
    assert said.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Strict", "Secure", "Path=/"} <= set(said.split("; "))
    inside = await house.get("/queues", cookie=said.partition(";")[0])
    assert (inside.body, house.site.visitors) == ("inside", ["ada"])


@pytest.mark.parametrize(
    "target",
    [
        *("//evil.example", "/\\evil.example", "https://evil.example", "", "evil.example", "javascript:alert(1)"),
        # Browsers leave these out, and read backslashes as slashes.
        *("/\t/evil.example", "/\t\\evil.example", "/\r\n/evil.example", "\t//evil.example", "/\n", "/queues\r\nx: y"),
        *("/\x00/evil.example", "/\x7f/evil.example", "/\x85/evil.example", "/queues/..\\..\\evil.example"),
    ],
)
async def test_nobody_is_led_to_another_site(target: str) -> None:
    answer = await House().log_in("a" * 20, "/login?" + urlencode({"next": target}))
    assert answer.headers["location"] == "/"


async def test_what_is_no_ascii_is_led_to_as_it_would_be_written() -> None:
    answer = await House().log_in("a" * 20, "/login?" + urlencode({"next": "/queues/käse 1?a=b&c=%41#d"}))
    assert answer.headers["location"] == "/queues/k%C3%A4se%201?a=b&c=%41#d"


async def test_a_wrong_token_is_refused_and_many_of_them_close_the_door() -> None:
    house = House()
    for _ in range(10):
        assert (await house.log_in("b" * 20)).status == 403
    assert (await house.log_in("a" * 20)).status == 429
    house.now += 61
    assert (await house.log_in("a" * 20)).status == 303


async def test_what_another_site_asks_for_is_refused_even_with_a_session() -> None:
    house = House()
    foreign = {"origin": "https://evil.example", "cookie": cookie()}
    assert (await house.get("/", **foreign)).status == 403
    assert (await house.get("/logout", "POST", **foreign)).status == 403
    assert await house.ask("/_nicegui_ws/", kind="websocket", **foreign) == [{"type": "websocket.close", "code": 1008}]
    assert house.site.visitors == []


async def test_a_socket_without_a_session_is_closed() -> None:
    closed = await House().ask("/_nicegui_ws/", kind="websocket", origin="https://ops.example.com")
    assert closed == [{"type": "websocket.close", "code": 1008}]


async def test_logging_out_takes_the_cookie_back_and_needs_more_than_a_link() -> None:
    house = House()
    assert (await house.get("/logout", cookie=cookie())).status == 405
    answer = await house.get("/logout", "POST", cookie=cookie(), **ORIGIN)
    assert "Max-Age=0" in answer.headers["set-cookie"]


async def test_a_session_that_is_over_is_nobodys() -> None:
    house = House()
    house.now += 13 * 3600
    assert (await house.get("/", cookie=cookie())).status == 401


async def test_every_answer_keeps_frames_and_foreign_scripts_out() -> None:
    for answer in (await House().get("/login"), await House().get("/", cookie=cookie())):
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_behind_a_proxy_its_word_counts_and_nobody_elses() -> None:
    house = House(None, login="proxy", trusted_proxies=["127.0.0.1"])
    assert (await house.get("/", x_forwarded_user="ada")).body == "inside"
    assert (await house.get("/")).status == 401
    elsewhere = House(None, login="proxy", trusted_proxies=["10.0.0.1"])
    assert (await elsewhere.get("/", x_forwarded_user="ada")).status == 401
    assert (await house.get("/", x_forwarded_user="ada", origin="https://evil.example")).status == 403


async def test_a_browser_that_goes_away_is_no_fault() -> None:
    async def site(_: Scope, receive: Receive, __: Send) -> None:
        await receive()
        raise RuntimeError("No response returned.")

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_: dict[str, Any]) -> None:
        raise AssertionError("nobody is there")

    door = Door(site, ConsoleSettings(), SESSIONS, lambda: NOW)
    headers = [(b"host", b"ops.example.com"), (b"cookie", cookie().encode())]
    await door({"type": "http", "method": "GET", "path": "/", "headers": headers, "client": None}, receive, send)


def test_the_login_page_shows_nothing_that_was_sent_to_it_unescaped() -> None:
    page = login_page('/"><script>alert(1)</script>', "<b>")
    assert "<script>" not in page
    assert "&lt;b&gt;" in page

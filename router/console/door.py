"""The door of the console: an ASGI app around the site that lets in whom `access` knows, and nobody else."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import parse_qs, quote

import structlog

from channels.port import WebhookReply
from router.console.access import COOKIE, HOURS, Failures, Person, Sessions, from_elsewhere, proxied
from router.http import ASGIApp, BodyIncompleteError, BodyTooLargeError, Receive, Scope, Send, read_body
from router.settings import ConsoleSettings

log = structlog.get_logger(__name__)

_LOGIN = Path(__file__).with_name("login.html")
_FORM = 4096  #: bytes of a login form
#: What stays as it is where somebody is led to; the rest is written as bytes.
_OF_A_TARGET = "/?&=#%:;,+@!~*()'$"
_FOREIGN = WebhookReply(403, "text/plain", b"asked by another site\n")
_NOBODY = WebhookReply(401, "text/plain", b"log in first\n")
#: Vue compiles its templates in the browser, which needs 'unsafe-eval'; nothing is loaded from anywhere else.
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
        "form-action 'self'; base-uri 'none'; object-src 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer, browsers send forms with `Origin: null`
}


class Door:
    """Around the site. The person who came in stands in `scope["state"]["person"]`."""

    def __init__(
        self,
        site: ASGIApp,
        settings: ConsoleSettings,
        sessions: Sessions | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._site = site
        self._settings = settings
        self._sessions = sessions  #: None: a proxy says who it is
        self._clock = clock
        self._failures = Failures()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        method = scope.get("method", "WEBSOCKET")
        if from_elsewhere(method, headers, self._settings.origin):
            await _refuse(scope, send, _FOREIGN)
            return
        if self._sessions is not None and scope["type"] == "http" and scope["path"] in {"/login", "/logout"}:
            await self._log_in_or_out(self._sessions, scope, headers, receive, send)
            return
        person = self._person(scope, headers)
        if person is None:
            await self._turn_away(scope, headers, send)
            return
        state = {**scope.get("state", {}), "person": person}
        await _served(self._site, {**scope, "state": state}, receive, _guarded(send))

    def _person(self, scope: Scope, headers: Mapping[str, str]) -> Person | None:
        if self._sessions is not None:
            return self._sessions.person(_cookie(headers), self._clock())
        peer = scope["client"][0] if scope.get("client") else None
        name = proxied(headers, peer, self._settings.user_header, self._settings.trusted_proxies)
        return Person(name, self._clock() + HOURS * 3600) if name else None

    async def _turn_away(self, scope: Scope, headers: Mapping[str, str], send: Send) -> None:
        reads = scope["type"] == "http" and scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        if self._sessions is not None and reads:
            await _redirect(send, f"/login?next={quote(scope['path'])}")
        else:
            await _refuse(scope, send, _NOBODY)

    async def _log_in_or_out(
        self, sessions: Sessions, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send
    ) -> None:
        target = _inside(parse_qs(scope["query_string"].decode("latin-1")).get("next", ["/"])[0])
        if scope["path"] == "/logout" and scope["method"] == "POST":
            await _redirect(send, "/login", _set_cookie("", 0, secure=_is_secure(headers)))
        elif scope["path"] == "/login" and scope["method"] == "POST":
            await self._log_in(sessions, scope, headers, receive, send, target)
        elif scope["path"] == "/login" and scope["method"] == "GET":
            await _page(send, 200, login_page(target))
        else:
            await _refuse(scope, send, WebhookReply(405, "text/plain", b"not so\n"))

    async def _log_in(
        self, sessions: Sessions, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send, target: str
    ) -> None:
        now = self._clock()
        if self._failures.too_many(now):
            await _page(send, 429, login_page(target, "Too many wrong tokens: wait a minute."))
            return
        try:
            form = parse_qs((await read_body(scope, receive, _FORM)).decode("latin-1"))
        except (BodyTooLargeError, BodyIncompleteError, TimeoutError):
            form = {}
        name = sessions.holder(form.get("token", [""])[0])
        if name is None:
            self._failures.add(now)
            log.warning("console.refused", peer=scope["client"][0] if scope.get("client") else None)
            await _page(send, 403, login_page(target, "This is nobody's token."))
            return
        log.info("console.entered", person=name)
        cookie = _set_cookie(sessions.begin(name, now), HOURS * 3600, secure=_is_secure(headers))
        await _redirect(send, target, cookie)


async def _served(site: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Starlette's middleware fails where a browser goes away before its answer; nobody is there to mind."""
    gone = False

    async def heard() -> dict[str, Any]:
        nonlocal gone
        message = await receive()
        gone = gone or message["type"] == "http.disconnect"
        return message

    try:
        await site(scope, heard, send)
    except RuntimeError as exc:
        if not gone:
            raise
        log.debug("console.gone", path=scope["path"], why=str(exc))


def _inside(target: str) -> str:
    """A path of ours: what begins with two slashes is another host.

    To a browser a backslash is a slash, and it leaves tabs and line breaks out: neither is in any path of ours.
    """
    own = target.startswith("/") and not target.startswith("//")
    return target if own and "\\" not in target and target.isprintable() else "/"


def _cookie(headers: Mapping[str, str]) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None


def _is_secure(headers: Mapping[str, str]) -> bool:
    return headers.get("origin", "").startswith("https://")


def _set_cookie(value: str, seconds: int, *, secure: bool) -> tuple[bytes, bytes]:
    flags = "; Secure" if secure else ""
    return b"set-cookie", f"{COOKIE}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{flags}".encode()


def _guarded(send: Send) -> Send:
    """With headers that keep other sites and their scripts away; nothing but our own files is cached."""

    async def guarded(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            extra = [(n.encode(), v.encode()) for n, v in _HEADERS.items()]
            extra += [] if b"cache-control" in given else [(b"cache-control", b"no-store")]
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return guarded


async def _refuse(scope: Scope, send: Send, reply: WebhookReply) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await _answer(send, reply.status, reply.body, [(b"content-type", b"text/plain")])


async def _redirect(send: Send, target: str, *headers: tuple[bytes, bytes]) -> None:
    await _answer(send, 303, b"", [(b"location", quote(target, safe=_OF_A_TARGET).encode()), *headers])


async def _page(send: Send, status: int, page: str) -> None:
    await _answer(send, status, page.encode(), [(b"content-type", b"text/html; charset=utf-8")])


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    send = _guarded(send)
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


def login_page(target: str, problem: str = "") -> str:
    """A form that needs no script."""
    said = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    page = Template(_LOGIN.read_text(encoding="utf-8"))
    return page.substitute(problem=said, target=html.escape(quote(target)))

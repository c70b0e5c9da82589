"""The two HTTP listeners: webhooks for providers in public, health and documents for operators inside.

Plain ASGI: a webhook is two exact paths, a size limit and a signature, and nothing of a web framework is on its way.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from channels.errors import CallbackError
from channels.port import WebhookReply, WebhookRequest, Webhooks
from router.inbound import Inbound
from router.jetstream import StoreError
from router.metrics import WEBHOOKS
from router.seldom import Seldom
from router.tracking import Tracking

log = structlog.get_logger(__name__)

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

NOT_FOUND = WebhookReply(404, "text/plain", b"not found\n")
TOO_LARGE = WebhookReply(413, "text/plain", b"the body is too large\n")
INCOMPLETE = WebhookReply(408, "text/plain", b"the body did not arrive\n")
NO_CONSOLE = WebhookReply(404, "text/plain", b"the console is switched off: console.enabled\n")
METHOD = WebhookReply(405, "text/plain", b"use POST\n")
READ_ONLY = WebhookReply(405, "text/plain", b"use GET\n")
#: RFC 9110: a 405 says which methods there are.
_ALLOWED = {METHOD: b"POST", READ_ONLY: b"GET, HEAD"}
TRY_AGAIN = WebhookReply(503, "text/plain", b"could not be stored; try again\n")
STORED = WebhookReply(204)


#: Seconds that a whole body may take to arrive: a webhook's body is one packet.
_PATIENCE = 10.0


class BodyTooLargeError(Exception):
    """More bytes than the limit."""


class BodyIncompleteError(Exception):
    """The sender went away or stalled."""


@dataclass(frozen=True, slots=True)
class WebhookApp:
    """`POST /<provider>/status` and `POST /<provider>/inbound`."""

    providers: Mapping[str, Webhooks]
    tracking: Tracking
    inbound: Inbound
    max_body: int
    draining: Callable[[], bool]
    seldom: Seldom = field(default_factory=Seldom)  #: anybody can send what is refused, as often as they like

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            reply = await self._answer(scope, receive)
            WEBHOOKS.inc(scope["path"].rpartition("/")[2] if reply.status != 404 else "", str(reply.status))
            await respond(send, reply)

    async def _answer(self, scope: Scope, receive: Receive) -> WebhookReply:
        _, _, rest = scope["path"].partition("/")
        provider, _, kind = rest.partition("/")
        handlers = {"status": self._status, "inbound": self._inbound}
        if provider not in self.providers or kind not in handlers:
            return NOT_FOUND
        if scope["method"] != "POST":
            return METHOD
        if self.draining():
            return TRY_AGAIN
        try:
            request = _request(scope, await read_body(scope, receive, self.max_body))
            return await handlers[kind](provider, request)
        except BodyTooLargeError:
            return TOO_LARGE
        except (BodyIncompleteError, TimeoutError):
            return INCOMPLETE
        except CallbackError as exc:
            if (kept_back := self.seldom.due((provider, kind, exc.status))) is not None:
                where = {"provider": provider, "kind": kind, "status": exc.status}
                log.warning("webhook.refused", **where, why=str(exc), kept_back=kept_back)
            return WebhookReply(exc.status, "text/plain", f"{exc}\n".encode())
        except StoreError as exc:
            log.warning("webhook.not_stored", provider=provider, kind=kind, why=str(exc))
            return TRY_AGAIN

    async def _status(self, provider: str, request: WebhookRequest) -> WebhookReply:
        await self.tracking.record(self.providers[provider].status(request))
        return STORED

    async def _inbound(self, provider: str, request: WebhookRequest) -> WebhookReply:
        webhooks = self.providers[provider]
        return webhooks.reply(await self.inbound.take(provider, webhooks.inbound(request)))


def _request(scope: Scope, body: bytes) -> WebhookRequest:
    raw = scope.get("raw_path") or scope["path"].encode()
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return WebhookRequest(
        path=raw.partition(b"?")[0].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        body=body,
    )


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, never more than `limit` bytes of it in memory."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if not declared.isdigit() or int(declared) > limit:
        raise BodyTooLargeError
    parts, size = [], 0
    async with asyncio.timeout(_PATIENCE):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BodyIncompleteError
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise BodyTooLargeError
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)


async def respond(send: Send, reply: WebhookReply) -> None:
    """Send an answer."""
    headers = [(b"content-length", str(len(reply.body)).encode())] if reply.status != 204 else []
    if reply.status == 405:
        headers.append((b"allow", _ALLOWED[reply]))
    if reply.content_type:
        headers.append((b"content-type", reply.content_type.encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def as_json(status: int, value: object) -> WebhookReply:
    """A JSON answer."""
    return WebhookReply(status, "application/json", json.dumps(value).encode() + b"\n")


Page = Callable[[], Awaitable[WebhookReply]]


async def _looked_up(scope: Scope, answer: Page | None) -> WebhookReply:
    if answer is None:
        return NO_CONSOLE if scope["path"] == "/" else NOT_FOUND
    return await answer() if scope["method"] in {"GET", "HEAD"} else READ_ONLY


def admin_app(pages: Mapping[str, Page], console: ASGIApp | None = None) -> ASGIApp:
    """What operators and orchestrators look at: one answer for each exact path, and the console for all others."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = pages.get(scope["path"]) if scope["type"] == "http" else None
        if answer is None and console is not None:
            await console(scope, receive, send)
        elif scope["type"] == "http":
            await respond(send, await _looked_up(scope, answer))

    return app

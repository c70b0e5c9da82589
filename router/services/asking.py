"""The manners of every service: JSON in and out, and an error answer that names the field."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from nats.errors import MaxPayloadError
from nats.micro.request import Request
from pydantic_core import to_json

from channels.address import AddressError, parse_recipient
from channels.model import Lane, Recipient
from router import subjects
from router.jetstream import StoreError

log = structlog.get_logger(__name__)

#: First tokens of subjects that are stored, or that routers listen to.
_OURS = frozenset({"notifications", "deliveries", "outbox", "timers", "wake", "inbound", "deadletters", "pointsman"})

Answer = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
#: Subject below `pointsman.` -> what answers there.
Endpoints = Mapping[str, Answer]


class BadRequestError(Exception):
    """The request cannot be answered; `field` names what is wrong in it."""

    def __init__(self, message: str, field: str | None = None, code: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.code = code


def answering(answer: Answer) -> Callable[[Request], Awaitable[None]]:
    """A handler of the NATS micro service: whatever goes wrong becomes an error answer."""
    return _handler(lambda request: answer(_object(request.data)))


def of_its_source(answer: Answer) -> Callable[[Request], Awaitable[None]]:
    """The same on a subject that ends with the source, which the request then needs not name, and may name no other."""

    async def answer_its_own(request: Request) -> Mapping[str, Any]:
        asked, source = _object(request.data), request.subject.rsplit(".", 1)[1]
        if asked.get("source", source) != source:
            raise BadRequestError("must be the one that the subject ends with", "source")
        return await answer({**asked, "source": source})

    return _handler(answer_its_own)


def _handler(answered: Callable[[Request], Awaitable[Mapping[str, Any]]]) -> Callable[[Request], Awaitable[None]]:
    async def handler(request: Request) -> None:
        if not _may_answer(request):
            log.warning("service.reply_refused", subject=request.subject)
            return
        try:
            await request.respond(to_json(await answered(request)))
        except BadRequestError as exc:
            await _refuse(request, exc.code, exc.message, exc.field)
        except MaxPayloadError:
            await _refuse(request, 413, "the answer is larger than NATS takes in one message: read the stream", None)
        except StoreError as exc:
            await _refuse(request, 503, str(exc), None)
        except Exception:
            log.exception("service.fault", subject=request.subject)
            await _refuse(request, 500, "a fault of the router's own; its log says where", None)

    return handler


def _may_answer(request: Request) -> bool:
    """Whoever asks names where the answer goes. It is a place of the asker's, never one that only routers write."""
    reply = request._msg.reply
    return reply.partition(".")[0] not in _OURS and not reply.startswith("$")


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise BadRequestError("the request is no JSON that can be read") from None
    if not isinstance(value, dict):
        raise BadRequestError("the request must be a JSON object")
    return value


async def _refuse(request: Request, code: int, message: str, field: str | None) -> None:
    one_line = message.replace("\r", " ").replace("\n", " ")[:500]
    body = to_json({"error": {"code": code, "field": field, "message": message}})
    await request.respond_error(code=str(code), description=one_line, data=body)


def a_source(request: Mapping[str, Any], field: str = "source") -> str:
    """The publishing service."""
    value = request.get(field)
    if not isinstance(value, str) or not subjects.SOURCE.fullmatch(value):
        raise BadRequestError("must match [a-z0-9-]{1,32}", field)
    return value


def an_id(request: Mapping[str, Any]) -> str:
    """A notification's id."""
    value = request.get("id")
    if not isinstance(value, str) or not subjects.NOTIFICATION_ID.fullmatch(value):
        raise BadRequestError("must match [A-Za-z0-9_-]{1,64}", "id")
    return value


def a_lane(request: Mapping[str, Any]) -> Lane:
    """How urgent; normal when it is not said."""
    try:
        return Lane(str(request.get("lane", Lane.NORMAL.value)))
    except ValueError:
        raise BadRequestError("must be urgent, normal or bulk", "lane") from None


def a_recipient(request: Mapping[str, Any]) -> Recipient:
    """E.164, a national number with `region`, or a user id."""
    value, region = request.get("recipient"), request.get("region")
    if not isinstance(value, str) or not (region is None or isinstance(region, str)):
        raise BadRequestError("must be an address: E.164, or whatsapp:<user id>", "recipient")
    try:
        return parse_recipient(value, region)
    except AddressError as exc:
        raise BadRequestError(str(exc), "recipient") from None


def a_moment(request: Mapping[str, Any], field: str, default: datetime) -> datetime:
    """RFC 3339 with an offset; not in the future."""
    value = request.get(field)
    if value is None:
        return default
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadRequestError("must be RFC 3339 with an offset, for example 2026-12-01T09:30:00Z", field)
    if moment > default:
        raise BadRequestError("must not lie in the future", field)
    return moment.astimezone(UTC)


def a_text(request: Mapping[str, Any], field: str) -> str | None:
    """A note of a person; absent, or 1000 characters at most."""
    value = request.get(field)
    if value is not None and (not isinstance(value, str) or len(value) > 1_000):
        raise BadRequestError("must be a text of 1000 characters at most", field)
    return value

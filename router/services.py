"""What operators and services ask: NATS micro services under `pointsman.*`, request and reply in JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import nats.micro
import structlog
from nats.aio.client import Client
from nats.micro.request import Request
from nats.micro.service import Service
from pydantic_core import to_json

from channels.model import Lane
from policies.engine import Policy, decide
from policies.explain import decision_as_dict
from router import subjects
from router.archive import GoneError
from router.clock import Clock
from router.deadletters import DeadLetter, DeadLetters, State
from router.jetstream import JetStream, StoreError
from router.recipients import Recipients
from router.replay import NotReplayableError, Replay
from router.wire import InvalidNotificationError, parse_notification

log = structlog.get_logger(__name__)

VERSION = "1.0.0"

Answer = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class BadRequestError(Exception):
    """The request cannot be answered; `field` names what is wrong in it."""

    def __init__(self, message: str, field: str | None = None, code: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.code = code


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that can be asked."""

    js: JetStream
    recipients: Recipients
    policy: Callable[[], Policy]
    dead_letters: DeadLetters
    replayer: Replay
    clock: Clock

    async def start(self, client: Client) -> Service:
        """Announce the services."""
        service = await nats.micro.add_service(client, name="pointsman", version=VERSION)
        for name, handler in self._endpoints().items():
            endpoint = name.replace(".", "-")  # an endpoint's name is one token
            await service.add_endpoint(name=endpoint, subject=f"pointsman.{name}", handler=_answering(handler))
        return service

    def _endpoints(self) -> Mapping[str, Answer]:
        return {
            "explain": self.explain,
            "trace": self.trace,
            "deadletters.list": self.list_dead_letters,
            "deadletters.show": self.show_dead_letter,
            "deadletters.replay": self.replay_dead_letter,
            "deadletters.resolve": self.resolve_dead_letter,
        }

    async def explain(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What would happen to this notification now, and why; nothing is sent or stored."""
        envelope = "notification" in request
        lane = _lane(request.get("lane", Lane.NORMAL) if envelope else Lane.NORMAL)
        source = _source(request.get("source", "explain") if envelope else "explain")
        try:
            notification = parse_notification(to_json(request["notification"] if envelope else request))
            wanted = notification.as_request(source, lane)
        except InvalidNotificationError as exc:
            raise BadRequestError(exc.message, exc.field) from None
        facts = self.recipients.facts(wanted.recipient)
        return decision_as_dict(decide(wanted, facts, self.policy(), self.clock()))

    async def trace(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Every event of one notification, in order."""
        source, identity = _source(request.get("source")), _identity(request.get("id"))
        stored = await self.js.history(subjects.DELIVERIES, subjects.story(source, identity))
        if not stored:
            raise BadRequestError(f"no notification {identity!r} of {source!r} is in the log", "id", 404)
        return {"events": [json.loads(each.body) for each in stored]}

    async def list_dead_letters(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What needs a person: `{stage?, source?, state?}`; only what is open unless `state` says otherwise."""
        stage = "*" if request.get("stage") is None else _token(request["stage"], "stage")
        source = "*" if request.get("source") is None else _source(request["source"])
        state = _state(request.get("state", State.OPEN))
        letters = await self.dead_letters.all(stage, source)
        return {"dead_letters": [each.summary() for each in letters if state is None or each.state is state]}

    async def show_dead_letter(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{id}`: the whole of it, and every event of its notification."""
        letter = await self._letter(request)
        source, identity = str(letter.event["source"]), letter.event["notification_id"]
        stored = []
        if identity is not None:
            stored = await self.js.history(subjects.DELIVERIES, subjects.story(source, str(identity)))
        return {**letter.event, **letter.summary(), "events": [json.loads(each.body) for each in stored]}

    async def replay_dead_letter(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{id, note?}`: give it back to the router."""
        letter = await self._letter(request)
        try:
            return {"id": request["id"], "done": await self.replayer.replay(letter, _note(request))}
        except (NotReplayableError, GoneError) as exc:
            raise BadRequestError(str(exc), "id", 409) from None

    async def resolve_dead_letter(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{id, outcome?, note?}`: it has been dealt with."""
        letter = await self._letter(request)
        outcome = request.get("outcome")
        try:
            done = await self.replayer.resolve(letter, outcome if isinstance(outcome, str) else None, _note(request))
        except (NotReplayableError, GoneError) as exc:
            raise BadRequestError(str(exc), "outcome", 409) from None
        return {"id": request["id"], "done": done}

    async def _letter(self, request: Mapping[str, Any]) -> DeadLetter:
        identity = request.get("id")
        letter = await self.dead_letters.find(identity) if isinstance(identity, str) else None
        if letter is None:
            raise BadRequestError("no dead letter has this id; list them with pointsman.deadletters.list", "id", 404)
        return letter


def _state(value: object) -> State | None:
    if value == "all":
        return None
    try:
        return State(str(value))
    except ValueError:
        raise BadRequestError("must be open, replayed, resolved or all", "state") from None


def _token(value: object, field: str) -> str:
    if not isinstance(value, str) or not subjects.SOURCE.fullmatch(value):
        raise BadRequestError("must match [a-z0-9-]{1,32}", field)
    return value


def _note(request: Mapping[str, Any]) -> str | None:
    note = request.get("note")
    if note is not None and (not isinstance(note, str) or len(note) > 1_000):
        raise BadRequestError("must be a text of 1000 characters at most", "note")
    return note


def _lane(value: object) -> Lane:
    try:
        return Lane(str(value))
    except ValueError:
        raise BadRequestError("must be urgent, normal or bulk", "lane") from None


def _source(value: object) -> str:
    return _token(value, "source")


def _identity(value: object) -> str:
    if not isinstance(value, str) or not subjects.NOTIFICATION_ID.fullmatch(value):
        raise BadRequestError("must match [A-Za-z0-9_-]{1,64}", "id")
    return value


def _answering(answer: Answer) -> Callable[[Request], Awaitable[None]]:
    """JSON in and out; every failure becomes an error answer that names the field."""

    async def handler(request: Request) -> None:
        try:
            await request.respond(to_json(await answer(_object(request.data))))
        except BadRequestError as exc:
            await _refuse(request, exc.code, exc.message, exc.field)
        except StoreError as exc:
            await _refuse(request, 503, str(exc), None)
        except Exception:
            log.exception("service.fault", subject=request.subject)
            await _refuse(request, 500, "a fault of the router's own; its log says where", None)

    return handler


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

"""`/simulator/*`: look at what was accepted, and bring about what only the world outside could.

Unauthenticated: a simulator holds nothing worth protecting, and listens on loopback unless told otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from channels.twilio.simulator.content import ContentTemplate
from channels.twilio.simulator.faults import Faults
from channels.twilio.simulator.inbound import Address, Inbound

if TYPE_CHECKING:
    from channels.twilio.simulator.simulator import Simulator

Handler = Callable[[web.BaseRequest, str], Awaitable[web.Response]]
Model = TypeVar("Model", bound=BaseModel)
MAX_SKIP = 366 * 24 * 3600  # seconds


class _Pair(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    from_: Address = Field(alias="from")  #: one of our senders, or a Messaging Service
    to: Address  #: the recipient


class Session(_Pair):
    """Open or close a WhatsApp window."""

    open: bool = True


class OptOut(_Pair):
    """Opt a recipient out, or in again."""

    opted_out: bool = True


class Skip(BaseModel):
    """Let time pass at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    advance: float = Field(ge=0, le=MAX_SKIP)  #: seconds


class Excerpt(BaseModel):
    """Which messages to show."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: str | None = None  #: recipient
    after: int = 0  #: those with a greater ordinal
    limit: int | None = Field(None, ge=1)  #: at most so many, oldest first


class Control:
    """The handlers."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {
            ("GET", "/simulator/messages"): self._messages,
            ("GET", "/simulator/stats"): self._stats,
            ("GET", "/simulator/faults"): self._show_faults,
            ("POST", "/simulator/faults"): self._switch_faults,
            ("POST", "/simulator/inbound"): self._inbound,
            ("POST", "/simulator/sessions"): self._session,
            ("POST", "/simulator/opt-outs"): self._opt_out,
            ("POST", "/simulator/templates"): self._template,
            ("POST", "/simulator/clock"): self._clock,
            ("POST", "/simulator/reset"): self._reset,
        }

    async def _messages(self, request: web.BaseRequest, _sid: str) -> web.Response:
        excerpt = _checked(Excerpt, dict(request.query))
        shown = self._simulator.excerpt(excerpt.to, excerpt.after, excerpt.limit)
        return _json({"messages": [message.inspect() for message in shown]})

    async def _stats(self, _request: web.BaseRequest, _sid: str) -> web.Response:
        return _json(self._simulator.stats())

    async def _show_faults(self, _request: web.BaseRequest, _sid: str) -> web.Response:
        return _json(self._simulator.faults.model_dump(mode="json"))

    async def _switch_faults(self, request: web.BaseRequest, sid: str) -> web.Response:
        """Fields that are not named stay as they are."""
        changes = await _object(request)
        self._simulator.switch_faults(_checked(Faults, self._simulator.faults.model_dump() | changes))
        return await self._show_faults(request, sid)

    async def _inbound(self, request: web.BaseRequest, _sid: str) -> web.Response:
        answer = await self._simulator.receive(_checked(Inbound, await _object(request)))
        return _json(answer.model_dump(mode="json"))

    async def _session(self, request: web.BaseRequest, _sid: str) -> web.Response:
        session = _checked(Session, await _object(request))
        self._simulator.set_session(session.from_, session.to, session.open)
        return _json({"open": session.open})

    async def _opt_out(self, request: web.BaseRequest, _sid: str) -> web.Response:
        opt_out = _checked(OptOut, await _object(request))
        self._simulator.set_opt_out(opt_out.from_, opt_out.to, opt_out.opted_out)
        return _json({"opted_out": opt_out.opted_out})

    async def _template(self, request: web.BaseRequest, _sid: str) -> web.Response:
        template = _checked(ContentTemplate, await _object(request))
        self._simulator.set_template(template)
        return _json(template.model_dump(mode="json"))

    async def _clock(self, request: web.BaseRequest, _sid: str) -> web.Response:
        self._simulator.skip(_checked(Skip, await _object(request)).advance)
        return _json({"now": self._simulator.now()})

    async def _reset(self, _request: web.BaseRequest, _sid: str) -> web.Response:
        await self._simulator.reset()
        return _json({"reset": True})


async def _object(request: web.BaseRequest) -> dict[str, Any]:
    try:
        value = json.loads(await request.read())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _bad_request(["a JSON object is expected"])
    return value


def _checked(model: type[Model], values: dict[str, Any]) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
        raise _bad_request([f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in details]) from None


def _bad_request(errors: list[str]) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"errors": errors}), content_type="application/json")


def _json(value: object) -> web.Response:
    return web.Response(body=json.dumps(value).encode(), content_type="application/json")

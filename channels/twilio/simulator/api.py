"""The REST API: authentication, faults, and the resources Messages, Account and Content."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from channels.twilio.simulator.account import Account
from channels.twilio.simulator.codes import Refusal
from channels.twilio.simulator.content import ContentTemplate, approval_resource, approvals_page, content_resource
from channels.twilio.simulator.core import Core
from channels.twilio.simulator.drafts import Draft, draft_of, parse_form
from channels.twilio.simulator.faults import Fate, FaultKind
from channels.twilio.simulator.lifecycle import Lifecycle
from channels.twilio.simulator.listing import page_of, query_of
from channels.twilio.simulator.messages import API_VERSION, FINAL, MessageStore, TwilioMessage
from channels.twilio.simulator.validation import validate
from channels.twilio.simulator.world import World

Responder = Callable[[], web.Response]
#: Takes a request and the SID that its path names ("" where it names none).
Handler = Callable[[web.BaseRequest, str], Awaitable[web.Response]]

_BEFORE = {FaultKind.THROTTLE: 20429, FaultKind.ERROR_BEFORE: 20503}
_CUT_OFF = frozenset({FaultKind.DROP_BEFORE, FaultKind.ACCEPT_DROP, FaultKind.ACCEPT_NO_ANSWER})


class Api:
    """Answers as api.twilio.com and content.twilio.com would."""

    def __init__(self, core: Core, world: World, store: MessageStore, lifecycle: Lifecycle) -> None:
        self._core = core
        self._world = world
        self._store = store
        self._lifecycle = lifecycle
        self.base_url = ""  #: what links in resources begin with
        self._started = core.clock.now()
        self._account_sid = core.settings.account_sid
        self._owns = Account(core.settings)
        self._authorizations = frozenset(_authorizations(core))
        self._in_flight = 0
        self._stopping = asyncio.Event()

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path; `*` stands for one SID."""
        account = f"/{API_VERSION}/Accounts/{self._account_sid}"
        return {
            ("POST", f"{account}/Messages.json"): self._create,
            ("GET", f"{account}/Messages.json"): self._reading(self._list),
            ("GET", f"{account}/Messages/*.json"): self._reading(self._fetch),
            ("POST", f"{account}/Messages/*.json"): self._update,
            ("DELETE", f"{account}/Messages/*.json"): self._reading(self._delete),
            ("GET", f"{account}.json"): self._reading(self._account),
            **self._owned(account),
            ("GET", "/v1/Content/*"): self._reading(self._content),
            ("GET", "/v1/Content/*/ApprovalRequests"): self._reading(self._approval),
            ("GET", "/v1/ContentAndApprovals"): self._reading(self._approvals),
        }

    def _owned(self, account: str) -> dict[tuple[str, str], Handler]:
        """What the account owns, for whoever asks before sending."""
        owns = self._owns
        return {
            ("GET", f"{account}/IncomingPhoneNumbers.json"): self._owning(lambda asked, _: owns.numbers(asked.query)),
            ("GET", f"{account}/SMS/ShortCodes.json"): self._owning(lambda asked, _: owns.short_codes(asked.query)),
            ("GET", f"{account}/Applications/*.json"): self._owning(lambda _, sid: _found(owns.application(sid))),
            ("GET", "/v1/Services"): self._owning(lambda _asked, _sid: owns.services()),
            ("GET", "/v1/Services/*"): self._owning(lambda _, sid: owns.service(sid)),
            ("GET", "/v1/Services/*/PhoneNumbers"): self._owning(lambda _, sid: owns.numbers_of(sid)),
            ("GET", "/v1/Services/*/ShortCodes"): self._owning(lambda _, sid: owns.short_codes_of(sid)),
            ("GET", "/v1/Services/*/AlphaSenders"): self._owning(lambda _, sid: owns.alpha_senders_of(sid)),
            ("GET", "/v1/Services/*/ChannelSenders"): self._owning(lambda _, sid: owns.channel_senders_of(sid)),
            ("GET", "/v1/Services/*/Compliance/Usa2p"): self._owning(lambda _, sid: owns.campaigns(sid)),
            ("GET", "/v1/Tollfree/Verifications"): self._owning(lambda asked, _: owns.verifications(asked.query)),
            ("GET", "/v1/Messaging/GeoPermissions"): self._owning(
                lambda asked, _: _found(owns.geo_permissions(asked.query))
            ),
            ("GET", "/v2/Channels/Senders"): self._owning(lambda _asked, _sid: owns.whatsapp_senders()),
        }

    def start(self, base_url: str) -> None:
        """Serve under this address."""
        self.base_url = base_url
        self._stopping.clear()

    def stop(self) -> None:
        """Let go of the connections that a fault keeps hanging."""
        self._stopping.set()

    def not_served(self, request: web.BaseRequest, code: int) -> web.Response:
        """The refusal of a request that no route takes."""

        def refuse() -> web.Response:
            raise Refusal(code)

        return self._checked(request, refuse)

    # --- how every request is answered

    async def _answer(self, request: web.BaseRequest, fate: Fate, respond: Responder) -> web.Response:
        """Go through the faults, authenticate, respond."""
        self._core.counts["requests"] += 1
        self._in_flight += 1
        limit = self._core.settings.max_concurrency
        try:
            if limit is not None and self._in_flight > limit:
                return self._refused(Refusal(20429))
            return await self._suffer(request, fate, lambda: self._checked(request, respond))
        finally:
            self._in_flight -= 1

    async def _suffer(self, request: web.BaseRequest, fate: Fate, respond: Responder) -> web.Response:
        if latency := self._core.plan.latency():
            await self._wait(latency)
        if fate.kind is not FaultKind.OK:
            self._core.counts[f"fault_{fate.kind}"] += 1
        if fate.kind in _BEFORE:
            return self._refused(Refusal(_BEFORE[fate.kind]))
        answer = web.Response() if fate.kind is FaultKind.DROP_BEFORE else respond()
        if fate.kind is FaultKind.ERROR_AFTER:
            return self._refused(Refusal(20500))
        if fate.kind is FaultKind.ACCEPT_NO_ANSWER:
            await self._wait(self._core.plan.faults.hang_seconds)
        if fate.kind in _CUT_OFF and request.transport is not None:
            request.transport.close()
        return answer

    async def _wait(self, seconds: float) -> None:
        """For so long, or until the simulator stops."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def _checked(self, request: web.BaseRequest, respond: Responder) -> web.Response:
        try:
            self._authenticate(request)
            return respond()
        except Refusal as refusal:
            return self._refused(refusal)

    def _authenticate(self, request: web.BaseRequest) -> None:
        if request.headers.get("Authorization") not in self._authorizations:
            raise Refusal(20003)

    def _refused(self, refusal: Refusal) -> web.Response:
        self._core.counts[f"refused_{refusal.code}"] += 1
        return self._response(refusal.body(), refusal.status)

    def _json(self, resource: dict[str, Any], status: int = 200) -> web.Response:
        return self._response(json.dumps(resource).encode(), status)

    def _response(self, body: bytes, status: int) -> web.Response:
        headers = {
            "Content-Type": "application/json",
            "Twilio-Request-Id": self._core.new_sid("RQ"),
            "Twilio-Concurrent-Requests": str(self._in_flight),
        }
        retry_after = self._core.plan.faults.retry_after
        if status == 429 and retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        return web.Response(body=body, status=status, headers=headers)

    def _reading(self, respond: Callable[[web.BaseRequest, str], web.Response]) -> Handler:
        async def handler(request: web.BaseRequest, sid: str) -> web.Response:
            return await self._answer(request, self._core.plan.for_read(), lambda: respond(request, sid))

        return handler

    # --- Messages

    async def _create(self, request: web.BaseRequest, _sid: str) -> web.Response:
        draft = draft_of(parse_form(await request.read()))
        fate = self._core.plan.for_creation(draft.to)
        return await self._answer(request, fate, lambda: self._accept(draft, fate))

    def _accept(self, draft: Draft, fate: Fate) -> web.Response:
        if fate.refuse is not None:
            raise Refusal(fate.refuse)
        now = self._core.clock.now()
        validate(draft, self._world, now)
        message = self._lifecycle.accept(draft, fate.ending, now)
        return self._json(message.resource(self._account_sid), 201)

    def _list(self, request: web.BaseRequest, _sid: str) -> web.Response:
        query = query_of(request.query)
        return self._json(page_of(self._store, query, self._account_sid))

    def _fetch(self, _request: web.BaseRequest, sid: str) -> web.Response:
        return self._json(self._message(sid).resource(self._account_sid))

    async def _update(self, request: web.BaseRequest, sid: str) -> web.Response:
        form = parse_form(await request.read())
        fate = self._core.plan.for_read()
        return await self._answer(request, fate, lambda: self._change(self._message(sid), form))

    def _change(self, message: TwilioMessage, form: dict[str, list[str]]) -> web.Response:
        if form.get("Status") == ["canceled"]:
            self._lifecycle.cancel(message, self._core.clock.now())
        elif form.get("Body") == [""]:
            self._redact(message)
        else:
            raise Refusal(30400)
        return self._json(message.resource(self._account_sid))

    def _redact(self, message: TwilioMessage) -> None:
        if message.status not in FINAL and message.status != "sent":
            raise Refusal(30409)
        message.body = ""
        message.updated = self._core.clock.now()

    def _delete(self, _request: web.BaseRequest, sid: str) -> web.Response:
        self._store.remove(self._message(sid))
        return web.Response(status=204)

    def _message(self, sid: str) -> TwilioMessage:
        message = self._store.get(sid)
        if message is None:
            raise Refusal(20404)
        return message

    # --- Account and Content

    def _account(self, _request: web.BaseRequest, _sid: str) -> web.Response:
        return self._json(
            {
                "sid": self._account_sid,
                "friendly_name": "Simulator",
                "status": "active",
                "type": "Full",
                "owner_account_sid": self._account_sid,
                "uri": f"/{API_VERSION}/Accounts/{self._account_sid}.json",
            }
        )

    def _owning(self, resource: Callable[[web.BaseRequest, str], dict[str, Any]]) -> Handler:
        return self._reading(lambda request, sid: self._json(resource(request, sid)))

    def _content(self, _request: web.BaseRequest, sid: str) -> web.Response:
        return self._json(content_resource(self._template(sid), self._account_sid, self._started, self.base_url))

    def _approval(self, _request: web.BaseRequest, sid: str) -> web.Response:
        return self._json(approval_resource(self._template(sid), self._account_sid, self.base_url))

    def _approvals(self, _request: web.BaseRequest, _sid: str) -> web.Response:
        return self._json(approvals_page(self._world.templates, self._account_sid, self._started, self.base_url))

    def _template(self, sid: str) -> ContentTemplate:
        template = self._world.template(sid)
        if template is None:
            raise Refusal(20404)
        return template


def _found(resource: dict[str, Any] | None) -> dict[str, Any]:
    if resource is None:
        raise Refusal(20404)
    return resource


def _authorizations(core: Core) -> list[str]:
    """The headers that are let in: account SID and token, or an API key and its secret."""
    settings = core.settings
    credentials = {settings.account_sid: settings.auth_token, **settings.api_keys}
    pairs = (f"{user}:{secret}" for user, secret in credentials.items())
    return [f"Basic {base64.b64encode(pair.encode()).decode()}" for pair in pairs]

"""What is on record about recipients: consent, WhatsApp sessions, where they cannot be reached; over NATS."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from channels.model import WHATSAPP, Category, ChannelName, Sender
from router.clock import Clock, rfc3339
from router.consent_ledger import OPTED_IN, STATES, ConsentEntry, current, in_order, with_holds
from router.recipients import Recipients
from router.services.asking import BadRequestError, Endpoints, a_moment, a_recipient, a_text

#: In one request of an import.
MOST_STATEMENTS = 500


@dataclass(frozen=True, slots=True)
class RecipientDesk:
    """`pointsman.consent.*`, `pointsman.session.*` and `pointsman.reach.*`."""

    recipients: Recipients
    senders: Mapping[str, Sender]
    channels: frozenset[str]
    clock: Clock

    def endpoints(self) -> Endpoints:
        """What it answers."""
        return {
            "consent.get": self.get_consent,
            "consent.set": self.set_consent,
            "consent.import": self.import_consent,
            "consent.export": self.export_consent,
            "session.get": self.get_session,
            "session.touch": self.touch_session,
            "reach.get": self.get_reach,
            "reach.forget": self.forget_reach,
        }

    async def get_consent(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{recipient, region?, at?}`: what holds for each scope, or held at that time, and how it came to be."""
        recipient = a_recipient(request)
        at = a_moment(request, "at", self.clock())
        await self.recipients.consent.refresh(recipient)
        history = [entry for entry in in_order(self.recipients.consent.known(recipient)) if entry.at <= at]
        return {
            "recipient": recipient.address,
            "key": self.recipients.consent.key(recipient),
            "consent": [entry.as_dict() for entry in current(history).values()],
            "history": with_holds(history),
        }

    async def set_consent(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{recipient, region?, scope?, state, proof, who?, how?, text?, at?}`: record a statement of the recipient."""
        recipient, entry = a_recipient(request), self._statement(request, "api", self.clock())
        if not entry.proof:
            raise BadRequestError("say who consented or objected, when and how", "proof")
        await self.recipients.consent.record(recipient, entry)
        return await self.get_consent({name: request[name] for name in ("recipient", "region") if name in request})

    async def import_consent(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{statements, check_only?}`: each like a request of `consent.set`; an answer for each, in their order."""
        statements = request.get("statements")
        if not isinstance(statements, list) or not 0 < len(statements) <= MOST_STATEMENTS:
            raise BadRequestError(f"must be a list of 1 to {MOST_STATEMENTS} statements", "statements")
        check_only = bool(request.get("check_only"))
        return {"results": await asyncio.gather(*(self._imported(each, check_only) for each in statements))}

    async def _imported(self, statement: object, check_only: bool) -> Mapping[str, Any]:
        """`recorded`: whether it was new. A statement that cannot be taken keeps no other from being recorded."""
        try:
            if not isinstance(statement, dict):
                raise BadRequestError("must be an object")
            recipient, entry = a_recipient(statement), self._statement(statement, "import", None)
            if entry.state == OPTED_IN and not (entry.proof or entry.text):
                raise BadRequestError("an opt-in needs a proof, or the text that was shown", "proof")
        except BadRequestError as exc:
            return {"error": ": ".join(part for part in (exc.field, exc.message) if part)}
        consent = self.recipients.consent
        return {"recorded": not consent.has(recipient, entry) if check_only else await consent.record(recipient, entry)}

    async def export_consent(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{after?}`: records in the order of their last change, a page at a time; `next` is the next `after`."""
        after = request.get("after", 0)
        if not isinstance(after, int) or isinstance(after, bool) or after < 0:
            raise BadRequestError("must be a number that an answer gave as next", "after")
        records, following = await self.recipients.consent.page(after)
        return {"records": [record.as_dict() for record in records], "next": following}

    def _statement(self, request: Mapping[str, Any], via: str, otherwise: datetime | None) -> ConsentEntry:
        """A statement as it is asked to be recorded; `otherwise` is its time where it says none."""
        scope, state = self._scope(request), request.get("state")
        if state not in STATES:
            raise BadRequestError(f"must be {' or '.join(STATES)}", "state")
        proof, who, how, text = (a_text(request, field) for field in ("proof", "who", "how", "text"))
        if request.get("at") is None and otherwise is None:
            raise BadRequestError("is missing: when the recipient said so, RFC 3339 with an offset", "at")
        at = a_moment(request, "at", self.clock())
        return ConsentEntry(scope, str(state), at, via, proof, who, how, text)

    async def get_session(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{sender, recipient, region?}`: whether a 24-hour session is open, and until when."""
        sender, recipient = self._sender(request), a_recipient(request)
        await self.recipients.sessions.refresh(recipient, [sender])
        end = self.recipients.sessions.ends(sender, recipient)
        return {
            "sender": sender,
            "recipient": recipient.address,
            "open": end is not None,
            "expires_at": rfc3339(end) if end else None,
        }

    async def touch_session(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{sender, recipient, region?, at?}`: the recipient wrote to this sender, received elsewhere."""
        sender, recipient = self._sender(request), a_recipient(request)
        await self.recipients.sessions.open(sender, recipient, a_moment(request, "at", self.clock()))
        return await self.get_session(request)

    async def get_reach(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{recipient, region?}`: the channels on which the recipient was found unreachable, and why."""
        recipient = a_recipient(request)
        known = self.recipients.reach.known(recipient)
        lessons = {channel: lesson.as_dict() for channel, lesson in known.items()}
        return {"recipient": recipient.address, "unreachable": lessons}

    async def forget_reach(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{recipient, region?, channel}`: the next message may try that channel again."""
        recipient, channel = a_recipient(request), request.get("channel")
        if channel not in self.channels:
            raise BadRequestError(f"must be an installed channel: {', '.join(sorted(self.channels))}", "channel")
        await self.recipients.reach.forget(recipient, ChannelName(str(channel)))
        return await self.get_reach(request)

    def _sender(self, request: Mapping[str, Any]) -> str:
        name = request.get("sender")
        known = sorted(name for name, sender in self.senders.items() if WHATSAPP in sender.channels)
        if not isinstance(name, str) or name not in known:
            raise BadRequestError(f"must be a WhatsApp sender of the configuration: {', '.join(known)}", "sender")
        return name

    def _scope(self, request: Mapping[str, Any]) -> str:
        scope = request.get("scope", "all")
        kind, _, name = str(scope).partition(":")
        known = {
            "channel": self.channels,
            "sender": frozenset(self.senders),
            "category": frozenset(category.value for category in Category),
        }
        if scope != "all" and name not in known.get(kind, frozenset()):
            raise BadRequestError("must be all, channel:<name>, sender:<name> or category:<name>", "scope")
        return str(scope)

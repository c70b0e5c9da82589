"""What is on record about recipients: consent, WhatsApp sessions, where they cannot be reached; over NATS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from channels.model import WHATSAPP, Category, ChannelName, Sender
from router.clock import Clock, rfc3339
from router.recipients import OPTED_IN, OPTED_OUT, ConsentEntry, Recipients, current
from router.services.asking import BadRequestError, Endpoints, a_moment, a_recipient, a_text

_STATES = (OPTED_OUT, OPTED_IN)


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
            "session.get": self.get_session,
            "session.touch": self.touch_session,
            "reach.get": self.get_reach,
            "reach.forget": self.forget_reach,
        }

    async def get_consent(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{recipient, region?}`: what holds now for each scope, and how it came to be."""
        recipient = a_recipient(request)
        history = self.recipients.consent.known(recipient)
        return {
            "recipient": recipient.address,
            "consent": [entry.as_dict() for entry in current(history).values()],
            "history": [entry.as_dict() for entry in history],
        }

    async def set_consent(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{recipient, region?, scope?, state, proof, at?}`: record a statement of the recipient."""
        recipient, scope = a_recipient(request), self._scope(request)
        state, proof = request.get("state"), a_text(request, "proof")
        if state not in _STATES:
            raise BadRequestError(f"must be {' or '.join(_STATES)}", "state")
        if not proof:
            raise BadRequestError("say who consented or objected, when and how", "proof")
        at = a_moment(request, "at", self.clock())
        await self.recipients.consent.record(recipient, ConsentEntry(scope, str(state), at, "api", proof))
        return await self.get_consent(request)

    async def get_session(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{sender, recipient, region?}`: whether a 24-hour session is open, and until when."""
        sender, recipient = self._sender(request), a_recipient(request)
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

"""What recipients' words and providers' refusals mean for consent."""

from __future__ import annotations

from collections.abc import Container

from channels.model import ChannelName, InboundMessage, Keyword, Recipient
from policies.model import Step
from router.clock import Clock
from router.recipients import OPTED_IN, OPTED_OUT, Consent, ConsentEntry
from router.settings import ConsentSettings

_STATE = {Keyword.STOP: OPTED_OUT, Keyword.START: OPTED_IN}


class ConsentKeeper:
    """Records stops and starts with the scope that the configuration gives them."""

    def __init__(self, consent: Consent, settings: ConsentSettings, senders: Container[str], clock: Clock) -> None:
        self._consent = consent
        self._senders = senders  #: the configured names
        self._settings = settings
        self._clock = clock

    async def heard(self, message: InboundMessage, sender: str) -> None:
        """A keyword in an inbound message; HELP and everything else change nothing."""
        if message.keyword not in _STATE:
            return
        scope = self._scope(message.channel, sender)
        proof = f"{message.keyword} to {sender} in message {message.message_id}"
        entry = ConsentEntry(scope, _STATE[message.keyword], self._clock(), "keyword", proof)
        await self._consent.record(message.from_, entry)

    async def refused(self, recipient: Recipient, step: Step, proof: str) -> None:
        """The provider refused because the recipient has opted out there; `proof` names the attempt."""
        scope = self._scope(step.channel, step.sender)
        await self._consent.record(recipient, ConsentEntry(scope, OPTED_OUT, self._clock(), "provider", proof))

    def _scope(self, channel: ChannelName, sender: str) -> str:
        match self._settings.stop_scope:
            case "channel":
                return f"channel:{channel}"
            case "sender" if sender in self._senders:
                return f"sender:{sender}"
            case _:  # a stop to a sender that nobody configured is a stop all the same
                return "all"

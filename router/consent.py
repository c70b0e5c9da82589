"""What recipients' words and providers' refusals mean for consent."""

from __future__ import annotations

from collections.abc import Container, Sequence

from channels.model import WHATSAPP, ChannelName, InboundMessage, Keyword, Recipient
from policies.model import Step
from router.clock import Clock
from router.consent_ledger import OPTED_IN, OPTED_OUT, Consent, ConsentEntry
from router.settings import ConsentSettings

_STATE = {Keyword.STOP: OPTED_OUT, Keyword.START: OPTED_IN}


class ConsentKeeper:
    """Records stops and starts with the scope that the configuration gives them."""

    def __init__(self, consent: Consent, settings: ConsentSettings, senders: Container[str], clock: Clock) -> None:
        self._consent = consent
        self._senders = senders  #: the configured names
        self._settings = settings
        self._clock = clock

    async def heard(self, message: InboundMessage, senders: Sequence[str]) -> None:
        """A keyword in an inbound message; HELP and everything else change nothing.

        `senders` are those that it was written to: a number, and the Messaging Service that it belongs to. The provider
        stops both, so both are stopped here.
        """
        if message.keyword not in _STATE:
            return
        proof = f"{message.keyword} to {' and '.join(senders)} in message {message.message_id}"
        for scope in dict.fromkeys(self._scope(message.channel, sender) for sender in senders):
            entry = ConsentEntry(scope, _STATE[message.keyword], self._clock(), "keyword", proof)
            await self._consent.record(message.from_, entry)

    async def refused(self, recipient: Recipient, step: Step, proof: str) -> None:
        """The provider refused because the recipient has opted out there; `proof` names the attempt.

        On WhatsApp nobody says STOP: the recipient blocked the business, or its offers, inside of WhatsApp. That says
        nothing about a text, so it never reaches further than the channel.
        """
        scope = self._scope(step.channel, step.sender)
        if scope == "all" and step.channel == WHATSAPP:
            scope = f"channel:{WHATSAPP}"
        await self._consent.record(recipient, ConsentEntry(scope, OPTED_OUT, self._clock(), "provider", proof))

    def _scope(self, channel: ChannelName, sender: str) -> str:
        match self._settings.stop_scope:
            case "channel":
                return f"channel:{channel}"
            case "sender" if sender in self._senders:
                return f"sender:{sender}"
            case _:  # a stop to a sender that nobody configured is a stop all the same
                return "all"

"""The contract of every channel, kept over real SMTP."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import ClassVar

from pointsman_smtp import EMAIL
from smtp_relay import Relay, running

from channels.model import FromNumber, Handle, OutboundMessage, SenderKind
from channels.port import ProviderContext
from channels.testing import BODY, ChannelContract, Rig, Situation, a_message

ANN, SHOP = "ann@example.com", "orders@shop.example"

RELAYS: Mapping[Situation, Relay] = {
    Situation.UNAUTHORIZED: Relay({"MAIL": f"530 5.7.0 authenticate first, {SHOP}"}),
    Situation.THROTTLED: Relay({"RCPT": f"451 4.7.1 too many to {ANN}"}),
    Situation.NO_ANSWER: Relay(after_data=None),
    Situation.DISCONNECTED: Relay(after_data=""),
    Situation.TRUNCATED: Relay(after_data="25", cut=True),
    Situation.GARBAGE_SUCCESS: Relay(after_data="<html>Created</html>"),
    Situation.GARBAGE_REFUSAL: Relay({"": "HTTP/1.1 400 Bad Request"}),
    Situation.REJECTED: Relay(after_data=f"554 5.7.1 {BODY} to {ANN} is spam"),
    Situation.UNKNOWN_CODE: Relay(after_data=f"599 5.9.9 {BODY}"),
}


def a_mail() -> OutboundMessage:
    sender = replace(
        a_message().sender, kind=SenderKind.ADDRESS, origin=FromNumber(SHOP), channels=frozenset({EMAIL.name})
    )
    return replace(a_message(), channel=EMAIL.name, sender=sender, recipient=Handle("mailto", ANN, None))


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class TestSmtpChannel(ChannelContract):
    retry_after = None
    rejected_code = "5.7.1"
    cannot_happen: ClassVar[Mapping[Situation, str]] = {
        Situation.SERVER_ERROR: "after the data every 5xx reply is a definite refusal (RFC 5321)",
        Situation.EMPTY_SUCCESS: "a relay names no message: its 250 is a success whatever stands behind it",
        Situation.OPTED_OUT: "SMTP has no reply that says so",
    }

    def message(self) -> OutboundMessage:
        return a_mail()

    def private(self) -> tuple[str, ...]:
        return (BODY, ANN, "mail-password")

    @asynccontextmanager
    async def make_adapter(self, situation: Situation) -> AsyncIterator[Rig]:
        relay = replace(RELAYS.get(situation, Relay()), transactions=0)
        async with running(relay):
            port = unused_port() if situation is Situation.CONNECTION_REFUSED else relay.port
            context = ProviderContext({}, None, 0.5, {"host": "127.0.0.1", "port": port, "tls": "none"})
            yield Rig(EMAIL.open(context), lambda: relay.transactions)

"""The contract of every channel, kept over real SMTP."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import ClassVar

import pytest
from pointsman_smtp import EMAIL
from pointsman_smtp.channel import SmtpChannel, mail_of, message_id
from pointsman_smtp.settings import SmtpSettings, read_settings
from smtp_relay import Relay, running

from channels.errors import ChannelConfigError, MessageInvalidError, ProviderThrottledError, RecipientUnreachableError
from channels.model import FromNumber, Handle, Media, OutboundMessage, SenderKind
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


@pytest.mark.parametrize(
    ("reply", "error", "code"),
    [
        ("550 5.1.1 no such user", RecipientUnreachableError, "5.1.1"),
        ("553 5.1.8 sender refused", ChannelConfigError, "5.1.8"),
        ("452 4.2.2 mailbox full", ProviderThrottledError, "4.2.2"),
        ("450 try later", ProviderThrottledError, 450),
    ],
)
async def test_what_a_refused_recipient_means(reply: str, error: type[Exception], code: object) -> None:
    async with running(Relay({"RCPT": reply})) as relay:
        with pytest.raises(error) as refused:
            await SmtpChannel(SmtpSettings("127.0.0.1", relay.port, "none"), 1.0).send(a_mail())
    assert refused.value.provider_code == code  # type: ignore[attr-defined]


def test_one_attempt_has_one_message_id_and_another_another() -> None:
    again = replace(a_mail(), ref=replace(a_mail().ref, attempt=2))
    assert message_id(a_mail()) == message_id(a_mail()) != message_id(again)
    assert message_id(a_mail()).endswith("@shop.example>")


def test_a_mail_has_what_mails_have() -> None:
    mail = mail_of(a_mail(), "Your {category} message")
    assert (mail["From"], mail["To"], mail["Subject"]) == (SHOP, ANN, "Your transactional message")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content().strip() == BODY


@pytest.mark.parametrize("address", ["ann@example.com\r\nBcc: everybody@example.com", "ann@example.com\n"])
def test_an_address_cannot_add_headers(address: str) -> None:
    with pytest.raises(MessageInvalidError):
        mail_of(replace(a_mail(), recipient=Handle("mailto", address, None)), "x")


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(MessageInvalidError):
        mail_of(replace(a_mail(), content=Media(("https://example.com/a.png",))), "x")


@pytest.mark.parametrize(
    ("options", "named"), [({}, "host"), ({"host": "a", "prot": 25}, "prot"), ({"host": "a", "tls": "maybe"}, "tls")]
)
def test_a_configuration_that_cannot_be_used_is_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(ChannelConfigError, match=named):
        read_settings(options, {})


def test_the_password_is_never_shown() -> None:
    settings = read_settings({"host": "a"}, {"SMTP_USER": "shop", "SMTP_PASSWORD": "mail-password"})
    assert "mail-password" not in repr(settings) + repr(SmtpChannel(settings, 1.0))

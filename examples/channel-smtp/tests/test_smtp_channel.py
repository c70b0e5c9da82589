"""What mail servers answer, and what a mail is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from pointsman_smtp.channel import SmtpChannel, mail_of, message_id
from pointsman_smtp.settings import SmtpSettings, read_settings
from test_smtp_contract import ANN, SHOP, a_mail, unused_port

from channels.errors import (
    ChannelConfigError,
    MessageInvalidError,
    ProviderRejectedError,
    ProviderThrottledError,
    ProviderUnavailableError,
    RecipientUnreachableError,
    SenderConfigError,
    SendError,
)
from channels.model import Handle, Media
from channels.testing import BODY


class Choosy:
    """A handler of aiosmtpd: what it says to MAIL FROM and to RCPT TO; None: it takes it."""

    def __init__(self, mail: str | None = None, rcpt: str | None = None) -> None:
        self._mail = mail
        self._rcpt = rcpt

    async def handle_MAIL(  # noqa: N802 - the name that aiosmtpd looks for
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from, envelope.mail_options = address, options
        return self._mail or "250 2.1.0 ok"

    async def handle_RCPT(  # noqa: N802 - the name that aiosmtpd looks for
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self._rcpt is None:
            envelope.rcpt_tos.append(address)
        return self._rcpt or "250 2.1.5 ok"


async def refusal_of(handler: Choosy) -> SendError:
    """What a real mail server's answer becomes."""
    controller = Controller(handler, hostname="127.0.0.1", port=unused_port())
    controller.start()
    try:
        with pytest.raises(SendError) as refused:
            await SmtpChannel(SmtpSettings("127.0.0.1", controller.port, "none"), 2.0).send(a_mail())
    finally:
        controller.stop()
    return refused.value


@pytest.mark.parametrize(
    ("reply", "error", "code"),
    [
        ("550 5.7.1 not allowed to send from here", SenderConfigError, "5.7.1"),
        ("553 5.1.8 sender refused", SenderConfigError, "5.1.8"),
        ("550 who are you", SenderConfigError, 550),
        ("421 4.7.0 too many connections", ProviderThrottledError, "4.7.0"),
        ("451 4.3.0 no queue file", ProviderUnavailableError, "4.3.0"),
    ],
)
async def test_what_a_refused_sender_means(reply: str, error: type[SendError], code: object) -> None:
    refused = await refusal_of(Choosy(mail=reply))
    assert (type(refused), refused.provider_code) == (error, code)


@pytest.mark.parametrize(
    ("reply", "error", "code", "slow"),
    [
        ("550 5.1.1 no such user", RecipientUnreachableError, "5.1.1", False),
        ("550 5.7.1 we take no mail for that list", ProviderRejectedError, "5.7.1", False),
        # One mailbox: tried again later, while the others of the sender go on.
        ("452 4.2.2 mailbox full", ProviderUnavailableError, "4.2.2", True),
        ("451 4.4.1 its server does not answer", ProviderUnavailableError, "4.4.1", True),
        ("450 try later", ProviderUnavailableError, 450, True),
        # The server itself: after a few in a row the sender waits until it is better.
        ("452 4.3.1 disk full", ProviderUnavailableError, "4.3.1", False),
        # The sender is too fast.
        ("450 4.7.1 greylisted", ProviderThrottledError, "4.7.1", True),
        ("421 closing", ProviderThrottledError, 421, True),
    ],
)
async def test_what_a_refused_recipient_means(reply: str, error: type[SendError], code: object, slow: bool) -> None:
    refused = await refusal_of(Choosy(rcpt=reply))
    assert (type(refused), refused.provider_code, refused.slow) == (error, code, slow)


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

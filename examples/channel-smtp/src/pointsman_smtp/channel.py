"""One message, one SMTP transaction, never repeated here."""

from __future__ import annotations

import ssl
from email.message import EmailMessage
from email.policy import SMTP
from hashlib import blake2b

import aiosmtplib

from channels.errors import MessageInvalidError, SendError
from channels.model import ChannelName, Handle, OutboundMessage, ProviderMessageId, SendReceipt, Text
from channels.port import ProviderContext
from pointsman_smtp.errors import as_send_error
from pointsman_smtp.settings import SmtpSettings, read_settings


class SmtpChannel:
    """Hands mails to a relay. A relay sends no receipts to us, so its acceptance is its last word."""

    name = ChannelName("email")
    provider = "smtp"

    def __init__(self, settings: SmtpSettings, timeout: float) -> None:
        self._settings = settings
        self._timeout = timeout  #: seconds for each answer of the server

    def __repr__(self) -> str:
        return f"SmtpChannel({self._settings.host}:{self._settings.port})"

    async def send(self, message: OutboundMessage) -> SendReceipt:
        """Raises `SendError`."""
        mail = mail_of(message, self._settings.subject)
        client = aiosmtplib.SMTP(
            hostname=self._settings.host,
            port=self._settings.port,
            timeout=self._timeout,
            use_tls=self._settings.tls == "implicit",
            start_tls=self._settings.tls == "starttls",
            tls_context=ssl.create_default_context() if self._settings.tls != "none" else None,
        )
        try:
            await self._transact(client, mail)
        finally:
            client.close()
        # The last word of a relay; what becomes of the mail further on comes back by mail, if at all.
        return SendReceipt(ProviderMessageId(str(mail["Message-ID"])), "250", last_word=True)

    async def _transact(self, client: aiosmtplib.SMTP, mail: EmailMessage) -> None:
        data_left = False
        try:
            await client.connect()
            if self._settings.user and self._settings.password:
                await client.login(self._settings.user, self._settings.password)
            await client.mail(str(mail["From"]))
            await client.rcpt(str(mail["To"]))
            data_left = True
            await client.data(mail.as_bytes(policy=SMTP))
        except SendError:
            raise
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as exc:
            raise as_send_error(exc, data_left=data_left) from None


def open_channel(context: ProviderContext) -> SmtpChannel:
    """What the router calls, with `[providers.smtp]` and the environment."""
    return SmtpChannel(read_settings(context.options, context.environ), context.timeout)


def mail_of(message: OutboundMessage, subject: str) -> EmailMessage:
    """The mail. Raises `MessageInvalidError` for what no mail can be."""
    if not isinstance(message.content, Text) or not isinstance(message.recipient, Handle):
        raise MessageInvalidError("email carries text to mailto: addresses")
    if not message.recipient.value.isprintable():
        raise MessageInvalidError("the address holds characters that no header may")
    mail = EmailMessage()
    try:
        mail["From"] = message.sender.address
        mail["To"] = message.recipient.value
    except ValueError:
        raise MessageInvalidError("an address of the mail cannot be written in its header") from None
    mail["Subject"] = subject.replace("{category}", message.category.value)
    mail["Message-ID"] = message_id(message)
    # RFC 3834: nobody's holiday note should answer it.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.content.body)
    return mail


def message_id(message: OutboundMessage) -> str:
    """The same for the same attempt, so that a mail that was taken twice shows as one where that is looked at."""
    ref = message.ref
    name = f"{ref.source}.{ref.notification_id}.{ref.attempt}.{ref.token}"
    domain = message.sender.address.rpartition("@")[2] or "localhost"
    return f"<{blake2b(name.encode(), digest_size=12).hexdigest()}@{domain}>"

"""How Twilio writes who is meant: a bare number, or a channel's prefix before a number or an id."""

from __future__ import annotations

import re

from channels.errors import MessageInvalidError
from channels.model import WHATSAPP, ChannelName, FromNumber, PhoneNumber, Recipient, Sender

_WHATSAPP_PREFIX = "whatsapp:"
_PREFIXED = re.compile(r"([a-z]+):(.*)", re.DOTALL)


def recipient_address(channel: ChannelName, recipient: Recipient) -> str:
    """The recipient on this channel. Raises `MessageInvalidError` for an address space it does not reach.

    A WhatsApp user id stands without a plus sign.
    """
    if isinstance(recipient, PhoneNumber):
        return f"{_WHATSAPP_PREFIX}{recipient.e164}" if channel == WHATSAPP else recipient.e164
    if channel == WHATSAPP and recipient.scheme == "whatsapp":
        return f"{_WHATSAPP_PREFIX}{recipient.value}"
    raise MessageInvalidError(f"{channel} does not reach addresses of the kind '{recipient.scheme}'")


def origin(channel: ChannelName, sender: Sender) -> dict[str, str]:
    """Number or service, under the name that the SDK's create and list give it."""
    if not isinstance(sender.origin, FromNumber):
        return {"messaging_service_sid": sender.origin.sid}
    address = sender.origin.value.removeprefix(_WHATSAPP_PREFIX)
    return {"from_": f"{_WHATSAPP_PREFIX}{address}" if channel == WHATSAPP else address}


def split_address(address: str) -> tuple[str, str]:
    """Channel prefix and the rest: ("whatsapp", "+1501...") or ("", "+1501...")."""
    match = _PREFIXED.fullmatch(address)
    return (match[1], match[2]) if match else ("", address)


def channel_of(*addresses: str | None) -> ChannelName | None:
    """The channel that the first prefix names ("whatsapp:", "rcs:"); None where all are bare: SMS or MMS."""
    for address in addresses:
        prefix, _ = split_address(address or "")
        if prefix:
            return ChannelName(prefix)
    return None

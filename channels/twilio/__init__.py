"""SMS, MMS and WhatsApp through Twilio: what the entry points `pointsman.channels` name.

The SDK takes a quarter of a second to import, so it is imported when a channel is opened, not when it is found.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from channels import model
from channels.errors import ChannelConfigError
from channels.model import ChannelCapabilities, ChannelName, Sender
from channels.port import ChannelPlugin, Finding, Level, ProviderContext

if TYPE_CHECKING:
    from channels.twilio.channel import TwilioChannel
    from channels.twilio.webhooks import TwilioWebhooks

PROVIDER = "twilio"

#: Twilio refuses longer bodies with 21617.
MAX_TEXT = 1600
#: Twilio refuses more media with 21623.
MAX_MEDIA = 10


def _opener(name: ChannelName) -> Callable[[ProviderContext], TwilioChannel]:
    def open_(context: ProviderContext) -> TwilioChannel:
        from channels.twilio.channel import open_channel  # noqa: PLC0415 - the SDK is slow to import

        return open_channel(name, context)

    return open_


def _open_webhooks(context: ProviderContext) -> TwilioWebhooks:
    from channels.twilio.webhooks import open_webhooks  # noqa: PLC0415 - the SDK is slow to import

    return open_webhooks(context)


async def _inspect(context: ProviderContext, senders: Sequence[Sender]) -> AsyncIterator[Finding]:
    from channels.twilio.channel import shared_client  # noqa: PLC0415 - the SDK is slow to import
    from channels.twilio.inspection import Inspection  # noqa: PLC0415 - likewise

    try:
        client = shared_client(context)
    except ChannelConfigError as exc:
        yield Finding("account", Level.FAILURE, exc.message, "put Twilio's variables into the environment or .env")
        return
    inspection = Inspection(client, context.public_url, context.environ.get("TWILIO_AUTH_TOKEN"))
    async for finding in inspection.findings(senders):
        yield finding


def _plugin(name: ChannelName, capabilities: ChannelCapabilities) -> ChannelPlugin:
    return ChannelPlugin(name, PROVIDER, capabilities, open=_opener(name), webhooks=_open_webhooks, inspect=_inspect)


#: The Content API serves SMS too: it sends the plainest type that a template holds.
SMS = _plugin(model.SMS, ChannelCapabilities(schemes=frozenset({"tel"}), template=True, max_text=MAX_TEXT))

#: Elsewhere Twilio turns media into a link in an SMS. https://www.twilio.com/docs/messaging/services#mms-converter
MMS = _plugin(
    model.MMS,
    ChannelCapabilities(
        schemes=frozenset({"tel"}),
        template=True,
        max_media=MAX_MEDIA,
        max_text=MAX_TEXT,
        media_countries=frozenset({"US", "CA"}),
    ),
)

#: WhatsApp takes one media a message and Twilio ignores further ones without a word.
WHATSAPP = _plugin(
    model.WHATSAPP,
    ChannelCapabilities(
        schemes=frozenset({"tel", "whatsapp"}),
        template=True,
        max_media=1,
        max_text=MAX_TEXT,
        approves_templates=True,
        needs_session=True,
        read_receipts=True,
    ),
)

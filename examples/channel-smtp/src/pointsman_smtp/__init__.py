"""Email over SMTP as a channel of Pointsman, for recipients written as `mailto:ann@example.com`."""

from __future__ import annotations

from channels.model import ChannelCapabilities, ChannelName
from channels.port import ChannelPlugin
from pointsman_smtp.channel import open_channel

EMAIL = ChannelPlugin(
    name=ChannelName("email"),
    provider="smtp",
    capabilities=ChannelCapabilities(schemes=frozenset({"mailto"}), max_text=100_000),
    open=open_channel,
)

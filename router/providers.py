"""Installed channels, opened for the configured senders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from channels.model import ChannelName
from channels.port import Channel, ProviderContext, TemplateCatalog, Webhooks
from channels.registry import Installed, discover
from policies.model import Step
from router.settings import Settings

log = structlog.get_logger(__name__)


class OpenChannels:
    """Which channel object a step is sent by: its sender's provider decides."""

    def __init__(self, opened: Mapping[tuple[str, ChannelName], Channel]) -> None:
        """`opened`: by sender and channel."""
        self._opened = opened
        by_name: dict[ChannelName, dict[str, Channel]] = {}
        for (_, name), channel in opened.items():
            by_name.setdefault(name, {})[channel.provider] = channel
        self._only = {name: next(iter(of.values())) for name, of in by_name.items() if len(of) == 1}

    def of(self, step: Step) -> Channel | None:
        """The one that carries this sender; of a sender that is gone, the channel's only one. None: there is none."""
        return self._opened.get((step.sender, step.channel)) or self._only.get(step.channel)


@dataclass(slots=True)
class Providers:
    """What can be sent through, and what calls back."""

    installed: Installed
    channels: OpenChannels  #: those that a sender carries
    catalogs: list[TemplateCatalog]  #: one for each provider that approves templates and can be asked about them
    webhooks: dict[str, Webhooks] = field(default_factory=dict)  #: by provider
    contexts: dict[str, ProviderContext] = field(default_factory=dict)  #: by provider

    async def aclose(self) -> None:
        """Close the providers' sessions."""
        for context in self.contexts.values():
            await context.aclose()


def open_providers(settings: Settings, environ: Mapping[str, str], *, listens: bool) -> Providers:
    """Open what the senders need. Raises `PluginError` or the provider's `ChannelConfigError`.

    `listens`: this process takes webhooks.
    """
    installed = discover()
    if settings.http.public_url is None:
        log.warning("webhooks.off", why="http.public_url is not set: no status and no inbound message comes back")
    contexts: dict[str, ProviderContext] = {}
    opened: dict[tuple[str, ChannelName], Channel] = {}  #: by provider and channel
    carried: dict[tuple[str, ChannelName], Channel] = {}  #: by sender and channel
    catalogs: dict[str, TemplateCatalog] = {}
    webhooks: dict[str, Webhooks] = {}
    for sender in (each.as_sender() for each in settings.senders):
        for name, plugin in installed.of(sender).items():
            provider = plugin.provider
            if provider not in contexts:
                contexts[provider] = context_of(settings, environ, provider)
            if (provider, name) not in opened:
                opened[provider, name] = plugin.open(contexts[provider])
            channel = carried[sender.name, name] = opened[provider, name]
            if plugin.capabilities.approves_templates and isinstance(channel, TemplateCatalog):
                catalogs.setdefault(provider, channel)
            if listens and plugin.webhooks and settings.http.public_url and provider not in webhooks:
                webhooks[provider] = plugin.webhooks(contexts[provider])
    return Providers(installed, OpenChannels(carried), list(catalogs.values()), webhooks, contexts)


def context_of(settings: Settings, environ: Mapping[str, str], provider: str) -> ProviderContext:
    """What a provider's package gets to build itself from."""
    return ProviderContext(
        environ=environ,
        public_url=settings.http.public_url,
        timeout=settings.dispatch.timeout,
        options=settings.providers.get(provider, {}),
    )

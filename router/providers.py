"""Installed channels, opened for the configured senders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from channels.model import ChannelName
from channels.port import Channel, ChannelPlugin, ProviderContext, TemplateCatalog, Webhooks
from channels.registry import PluginError, discover
from router.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Providers:
    """What can be sent through, and what calls back."""

    plugins: Mapping[ChannelName, ChannelPlugin]  #: every installed channel
    channels: dict[ChannelName, Channel] = field(default_factory=dict)  #: those that a sender carries
    webhooks: dict[str, Webhooks] = field(default_factory=dict)  #: by provider
    contexts: dict[str, ProviderContext] = field(default_factory=dict)  #: by provider

    @property
    def catalogs(self) -> list[TemplateCatalog]:
        """One for each provider that approves templates and can be asked about them."""
        approving: dict[str, TemplateCatalog] = {}
        for name, channel in self.channels.items():
            if self.plugins[name].capabilities.approves_templates and isinstance(channel, TemplateCatalog):
                approving.setdefault(channel.provider, channel)
        return list(approving.values())

    async def aclose(self) -> None:
        """Close the providers' sessions."""
        for context in self.contexts.values():
            await context.aclose()


def open_providers(settings: Settings, environ: Mapping[str, str], *, listens: bool) -> Providers:
    """Open what the senders need. Raises `PluginError` or the provider's `ChannelConfigError`.

    `listens`: this process takes webhooks.
    """
    providers = Providers(discover())
    if settings.http.public_url is None:
        log.warning("webhooks.off", why="http.public_url is not set: no status and no inbound message comes back")
    for name in sorted({ChannelName(channel) for sender in settings.senders for channel in sender.channels}):
        plugin = _installed(providers.plugins, name)
        if plugin.provider not in providers.contexts:
            providers.contexts[plugin.provider] = context_of(settings, environ, plugin.provider)
        context = providers.contexts[plugin.provider]
        providers.channels[name] = plugin.open(context)
        if listens and plugin.webhooks and settings.http.public_url and plugin.provider not in providers.webhooks:
            providers.webhooks[plugin.provider] = plugin.webhooks(context)
    return providers


def _installed(plugins: Mapping[ChannelName, ChannelPlugin], name: ChannelName) -> ChannelPlugin:
    if name not in plugins:
        known = ", ".join(sorted(plugins))
        raise PluginError(f"senders: no channel {name!r} is installed (there are {known})")
    return plugins[name]


def context_of(settings: Settings, environ: Mapping[str, str], provider: str) -> ProviderContext:
    """What a provider's package gets to build itself from."""
    return ProviderContext(
        environ=environ,
        public_url=settings.http.public_url,
        timeout=settings.dispatch.timeout,
        options=settings.providers.get(provider, {}),
    )

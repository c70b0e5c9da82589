"""Finding channels: built-ins and third parties' alike, by the entry-point group `pointsman.channels`.

One channel may be offered by several providers. Which of them a sender uses is its `provider`; where it names none, it
is the only one that offers what it carries, or the one that comes along by default.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from importlib.metadata import entry_points

from channels.model import ChannelCapabilities, ChannelName, Sender
from channels.port import ChannelPlugin

GROUP = "pointsman.channels"
#: Of several providers that could carry a sender, the one that is meant where the configuration names none.
DEFAULT_PROVIDER = "twilio"


class PluginError(Exception):
    """An installed channel plugin cannot be used; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Installed:
    """Every installed channel, once for each provider that offers it."""

    plugins: Collection[ChannelPlugin]

    @property
    def names(self) -> list[ChannelName]:
        """The channels, in order."""
        return sorted({plugin.name for plugin in self.plugins})

    def of(self, sender: Sender) -> Mapping[ChannelName, ChannelPlugin]:
        """What carries each channel of this sender, all of one provider. Raises `PluginError`."""
        if missing := sorted(sender.channels - set(self.names)):
            known = ", ".join(self.names)
            raise PluginError(f"sender '{sender.name}': no channel {missing[0]!r} is installed (there are {known})")
        offers = {
            provider: {plugin.name: plugin for plugin in self.plugins if plugin.provider == provider}
            for provider in sorted({plugin.provider for plugin in self.plugins})
        }
        able = [provider for provider, offered in offers.items() if sender.channels <= offered.keys()]
        provider = _chosen(sender, able)
        return {name: offers[provider][name] for name in sorted(sender.channels)}

    def capabilities(self, senders: Iterable[Sender]) -> Mapping[ChannelName, ChannelCapabilities]:
        """What each channel can express: where several providers carry it for these senders, what all of them can.

        Senders that nothing carries count for nothing here: `of` says what is wrong with them.
        """
        carried: dict[ChannelName, dict[str, ChannelCapabilities]] = {}
        for sender in senders:
            try:
                used = self.of(sender)
            except PluginError:
                continue
            for name, plugin in used.items():
                carried.setdefault(name, {})[plugin.provider] = plugin.capabilities
        for plugin in sorted(self.plugins, key=lambda each: each.provider != DEFAULT_PROVIDER):
            carried.setdefault(plugin.name, {plugin.provider: plugin.capabilities})
        return {name: reduce(common, carried[name].values()) for name in self.names}


def _chosen(sender: Sender, able: Collection[str]) -> str:
    """Of the providers that offer all that this sender carries, its own."""
    carries = " and ".join(sorted(sender.channels))
    if sender.provider is not None and sender.provider not in able:
        known = f"there is {', '.join(able) or 'none'}"
        raise PluginError(f"sender '{sender.name}': no provider {sender.provider!r} offers {carries} ({known})")
    if not able:
        raise PluginError(f"sender '{sender.name}': no one provider offers {carries}")
    if sender.provider is not None:
        return sender.provider
    if DEFAULT_PROVIDER in able:
        return DEFAULT_PROVIDER
    if len(able) > 1:
        raise PluginError(f"sender '{sender.name}': give it a provider, because several offer it: {', '.join(able)}")
    return next(iter(able))


def common(one: ChannelCapabilities, other: ChannelCapabilities) -> ChannelCapabilities:
    """What both can."""
    limits = [each.media_countries for each in (one, other) if each.media_countries is not None]
    return replace(
        one,
        schemes=one.schemes & other.schemes,
        text=one.text and other.text,
        template=one.template and other.template,
        max_media=min(one.max_media, other.max_media),
        max_text=min(one.max_text, other.max_text),
        approves_templates=one.approves_templates or other.approves_templates,
        needs_session=one.needs_session or other.needs_session,
        media_countries=frozenset.intersection(*limits) if limits else None,
        read_receipts=one.read_receipts and other.read_receipts,
    )


def discover() -> Installed:
    """Every installed channel. Two distributions that claim one channel of one provider stop the start."""
    found: dict[tuple[ChannelName, str], ChannelPlugin] = {}
    for entry in entry_points(group=GROUP):
        plugin = entry.load()
        if not isinstance(plugin, ChannelPlugin):
            raise PluginError(f"channel plugin '{entry.name}' ({entry.value}) is no ChannelPlugin")
        if entry.name not in {plugin.name, f"{plugin.provider}.{plugin.name}"}:
            calls = f"calls itself '{plugin.name}' of '{plugin.provider}'"
            raise PluginError(f"channel plugin '{entry.name}' {calls}: the two must agree")
        if (plugin.name, plugin.provider) in found:
            raise PluginError(
                f"two installed distributions offer the channel '{plugin.name}' of '{plugin.provider}': remove one"
            )
        found[plugin.name, plugin.provider] = plugin
    return Installed(tuple(found.values()))

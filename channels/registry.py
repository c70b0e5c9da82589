"""Finding channels: built-ins and third parties' alike, by the entry-point group `pointsman.channels`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points

from channels.model import ChannelName
from channels.port import ChannelPlugin

GROUP = "pointsman.channels"


class PluginError(Exception):
    """An installed channel plugin cannot be used; the message names it and says why."""


def discover() -> Mapping[ChannelName, ChannelPlugin]:
    """Every installed channel by name. Two distributions that claim one name stop the start."""
    found: dict[ChannelName, ChannelPlugin] = {}
    for entry in entry_points(group=GROUP):
        plugin = entry.load()
        if not isinstance(plugin, ChannelPlugin):
            raise PluginError(f"channel plugin '{entry.name}' ({entry.value}) is no ChannelPlugin")
        if plugin.name != entry.name:
            raise PluginError(f"channel plugin '{entry.name}' calls itself '{plugin.name}': the two must agree")
        if plugin.name in found:
            raise PluginError(f"two installed distributions offer a channel '{plugin.name}': remove one")
        found[plugin.name] = plugin
    return found

"""The policy in force."""

from __future__ import annotations

from collections.abc import Mapping

from channels.model import ChannelName
from channels.port import ChannelPlugin
from policies import document
from policies.engine import Policy, compile_policy
from policies.world import World
from router.settings import Settings


class PolicyFileError(Exception):
    """The configured policy cannot be used; the message names file, line and field."""


def world_of(settings: Settings, plugins: Mapping[ChannelName, ChannelPlugin]) -> World:
    """What decisions can choose from."""
    return World(
        senders=tuple(each.as_sender() for each in settings.senders),
        channels={name: plugin.capabilities for name, plugin in plugins.items()},
        templates=settings.template_entries(),
    )


def load_policy(settings: Settings, plugins: Mapping[ChannelName, ChannelPlugin]) -> Policy:
    """The configured policy, or the shipped one, compiled for what is configured and installed."""
    file = settings.policy.file
    if file is None:
        return compile_policy(document.shipped(), world_of(settings, plugins))
    try:
        return compile_policy(document.load(file.read_text(encoding="utf-8"), str(file)), world_of(settings, plugins))
    except (OSError, UnicodeDecodeError) as exc:
        raise PolicyFileError(f"policy.file: {file} cannot be read: {type(exc).__name__}") from None
    except document.PolicyError as exc:
        raise PolicyFileError(str(exc)) from None

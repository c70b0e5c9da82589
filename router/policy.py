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
        chosen = document.load(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as exc:
        raise PolicyFileError(f"policy.file: {file} cannot be read: {type(exc).__name__}") from None
    except document.PolicyError as exc:
        raise PolicyFileError(str(exc)) from None
    if missing := _not_carried_out(chosen):
        raise PolicyFileError(f"{file}: this router does not carry out {', '.join(missing)} yet; take it out")
    return compile_policy(chosen, world_of(settings, plugins))


def _not_carried_out(chosen: document.PolicyDocument) -> list[str]:
    """What a policy can say and the router would pass over in silence: refused, since nobody would notice."""
    steps = [step for route in chosen.routes for step in route.plan]
    conditions = [each for route in chosen.routes for each in (route.when, route.unless) if each is not None]
    asked = {
        "guards.frequency": bool(chosen.guards.frequency),
        "routes.plan.within": any(step.within is not None for step in steps),
        "routes.when.reachable": any(condition.reachable for condition in conditions),
    }
    return [name for name, there in asked.items() if there]

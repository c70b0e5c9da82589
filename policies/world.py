"""What decisions can choose from: the configured senders and templates, and what each installed channel can express."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from channels.model import ChannelCapabilities, ChannelName, Sender


@dataclass(frozen=True, slots=True)
class TemplateEntry:
    """A template by its logical name, in the languages it is configured in."""

    name: str
    category: str  #: the provider's: "utility", "marketing" or "authentication"
    languages: Mapping[str, str] = field(default_factory=dict)  #: BCP 47 -> content SID, in fallback order
    variables: frozenset[str] = frozenset()  #: names that must be given; empty: the router does not know them
    unapproved: Mapping[str, str] = field(default_factory=dict)  #: of the languages: what the provider says instead
    text: Mapping[str, str] = field(default_factory=dict)  #: BCP 47 -> what stands for it where no template can go


@dataclass(frozen=True, slots=True)
class World:
    """Fixed for one configuration; a policy is compiled against it."""

    senders: tuple[Sender, ...]
    channels: Mapping[ChannelName, ChannelCapabilities]
    templates: Mapping[str, TemplateEntry] = field(default_factory=dict)

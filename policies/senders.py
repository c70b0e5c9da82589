"""Which of our senders can serve a country on a channel, and which one is first choice.

All of it depends on the configuration alone, so it is worked out once per policy and looked up per decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from channels.model import MMS, SMS, WHATSAPP, ChannelName, Sender, SenderKind

US_AND_CANADA = frozenset({"US", "CA"})

#: Kinds that each built-in channel can be sent from. A plugin's channel takes any sender that is configured for it.
_KINDS: Mapping[ChannelName, frozenset[SenderKind]] = {
    SMS: frozenset(SenderKind) - {SenderKind.WHATSAPP},
    MMS: frozenset(SenderKind) - {SenderKind.WHATSAPP, SenderKind.ALPHANUMERIC},
    WHATSAPP: frozenset({SenderKind.WHATSAPP, SenderKind.MESSAGING_SERVICE}),
}
#: Channels over the phone network, where US and Canadian carriers take traffic from their own numbers only.
#: https://www.twilio.com/docs/api/errors/21703
_PHONE_NETWORK = frozenset({SMS, MMS})
#: Kinds that need a registration before US carriers take their traffic.
_REGISTERED_KINDS = frozenset({SenderKind.TEN_DLC, SenderKind.TOLL_FREE})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sender that may be used, and why before the next one."""

    name: str
    because: str


@dataclass(frozen=True, slots=True)
class SenderTable:
    """A channel's candidates by country, best first; countries that no sender names share one row."""

    by_country: Mapping[str | None, tuple[Candidate, ...]]
    elsewhere: tuple[Candidate, ...]

    def serving(self, country: str | None) -> tuple[Candidate, ...]:
        """Best first; empty where none can serve."""
        return self.by_country.get(country, self.elsewhere)


def sender_table(senders: Sequence[Sender], channel: ChannelName) -> SenderTable:
    """The table of one channel."""
    named: set[str | None] = {country for sender in senders for country in sender.countries}
    named |= {None, *US_AND_CANADA}
    rows = {country: _ranked(senders, channel, country) for country in named}
    return SenderTable(rows, _ranked(senders, channel, "an unnamed country"))


def can_serve(sender: Sender, channel: ChannelName, country: str | None) -> bool:
    """Whether this sender may be used for recipients of this country on this channel."""
    if channel not in sender.channels or sender.kind not in _KINDS.get(channel, SenderKind):
        return False
    if sender.countries and country not in sender.countries:
        return False
    if channel not in _PHONE_NETWORK:
        return True
    return _reaches_us_and_canada(sender) if country in US_AND_CANADA else _reaches_abroad(sender, country)


def _reaches_us_and_canada(sender: Sender) -> bool:
    """Only from numbers of their own; alphanumeric ids never."""
    match sender.kind:
        case SenderKind.ALPHANUMERIC:
            return False
        case SenderKind.LONG_CODE:
            return sender.country in US_AND_CANADA
        case _:  # short codes and Messaging Services name no country: the provider knows which of its numbers may
            return sender.country is None or sender.country in US_AND_CANADA


def _reaches_abroad(sender: Sender, country: str | None) -> bool:
    """A short code lives in its own network: outside US and Canada only where the configuration says so."""
    return sender.kind is not SenderKind.SHORT_CODE or country in sender.countries


def _ranked(senders: Sequence[Sender], channel: ChannelName, country: str | None) -> tuple[Candidate, ...]:
    serving = [sender for sender in senders if can_serve(sender, channel, country)]
    # sorted() is stable: equals stay in the order of the configuration
    ranked = sorted(serving, key=lambda sender: [preference.of(sender, country) for preference in _PREFERENCES])
    if len(ranked) == 1:
        return (Candidate(ranked[0].name, f"the only one that can serve this country on {channel}"),)
    return tuple(
        Candidate(sender.name, _why(sender, following, country))
        for sender, following in zip_longest(ranked, ranked[1:])
    )


@dataclass(frozen=True, slots=True)
class _Preference:
    of: Callable[[Sender, str | None], float]  #: smaller is better
    because: str


def _breadth(sender: Sender, _country: str | None) -> float:
    return len(sender.countries) or float("inf")


def _unregistered(sender: Sender, country: str | None) -> float:
    return country == "US" and sender.kind in _REGISTERED_KINDS and not sender.registered


def _lightness(sender: Sender, _country: str | None) -> float:
    return -sender.weight


#: In the order in which they count.
_PREFERENCES = (
    _Preference(_breadth, "its country list is more specific"),
    _Preference(_unregistered, "it is registered for the United States"),
    _Preference(_lightness, "its weight is higher"),
)


def _why(sender: Sender, following: Sender | None, country: str | None) -> str:
    if following is None:
        return "those before it cannot be used here"
    for preference in _PREFERENCES:
        if preference.of(sender, country) < preference.of(following, country):
            return f"before '{following.name}', because {preference.because}"
    return f"before '{following.name}', because it stands first in the configuration"

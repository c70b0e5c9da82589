"""Which of our senders can serve a country on a channel, and in which order they are asked.

Who can serve depends on the configuration alone, so it is worked out once per policy and looked up per decision. Among
equals the recipient decides: a rendezvous hash of their address gives each sender its share by weight, spreads load
evenly, and moves only the recipients of a sender that goes away. Whoever had a message before keeps its sender among
the equals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby, zip_longest
from typing import Generic, TypeVar
from zlib import crc32

from channels.model import MMS, SMS, WHATSAPP, ChannelName, Recipient, Sender, SenderKind

T = TypeVar("T")

US_AND_CANADA = frozenset({"US", "CA"})

#: Kinds that each built-in channel can be sent from. A plugin's channel takes any sender that is configured for it.
_KINDS: Mapping[ChannelName, frozenset[SenderKind]] = {
    SMS: frozenset(SenderKind) - {SenderKind.WHATSAPP, SenderKind.ADDRESS},
    MMS: frozenset(SenderKind) - {SenderKind.WHATSAPP, SenderKind.ADDRESS, SenderKind.ALPHANUMERIC},
    WHATSAPP: frozenset({SenderKind.WHATSAPP, SenderKind.MESSAGING_SERVICE}),
}
#: Channels over the phone network, where US and Canadian carriers take traffic from their own numbers only.
#: https://www.twilio.com/docs/api/errors/21703
_PHONE_NETWORK = frozenset({SMS, MMS})
#: Where carriers take traffic of these kinds only once they are registered or verified.
#: https://www.twilio.com/docs/api/errors/30034, https://www.twilio.com/docs/api/errors/30032
_NEEDS_REGISTRATION: Mapping[SenderKind, frozenset[str]] = {
    SenderKind.TEN_DLC: frozenset({"US"}),
    SenderKind.TOLL_FREE: US_AND_CANADA,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sender that may be used on a channel, and why before the next one."""

    name: str
    weight: float  #: its share among equals; 0: only where no other is left
    because: str  #: "sender 'us-main': the only one that ..."
    scopes: frozenset[str]  #: those of opt-outs and opt-ins that name this candidate
    seed: int  #: what its draws are mixed from

    @classmethod
    def of(cls, sender: Sender, channel: ChannelName, because: str) -> Candidate:
        """This sender, used on this channel for this reason."""
        scopes = frozenset({f"channel:{channel}", f"sender:{sender.name}"})
        return cls(sender.name, sender.weight, f"sender '{sender.name}': {because}", scopes, _hash(sender.name))


@dataclass(frozen=True, slots=True)
class Row:
    """A channel's candidates for one country."""

    tiers: tuple[tuple[Candidate, ...], ...]  #: best first; those of one tier are equals
    kept: Mapping[str, Candidate]  #: those of weight with equals, by name, as a recipient keeps them
    settled: tuple[Candidate, ...] | None  #: their order where the recipient makes no difference to it
    left_out: str  #: why others are not used, in words; empty: there are none

    def order(self, recipient: Recipient, last: str | None) -> tuple[Candidate, ...]:
        """Best first for this recipient; `last`, which sent their last message on the channel, before its equals."""
        if self.settled is not None:
            return self.settled
        return tuple(_ranked(self.tiers, recipient.address, self.kept.get(last) if last else None))


@dataclass(frozen=True, slots=True)
class ByCountry(Generic[T]):
    """A value for each country; countries that no sender names share one."""

    named: Mapping[str | None, T]
    elsewhere: T

    def of(self, country: str | None) -> T:
        """The value of this country."""
        return self.named.get(country, self.elsewhere)


SenderTable = ByCountry[Row]
_UNNAMED = "an unnamed country"


def sender_table(senders: Sequence[Sender], channel: ChannelName) -> SenderTable:
    """The candidates of one channel."""
    return _by_country(senders, lambda country: _row(senders, channel, country))


def kind_table(senders: Sequence[Sender]) -> ByCountry[frozenset[SenderKind]]:
    """The kinds of senders that can serve each country on some channel."""

    def kinds(country: str | None) -> frozenset[SenderKind]:
        return frozenset(s.kind for s in senders if any(can_serve(s, channel, country) for channel in s.channels))

    return _by_country(senders, kinds)


def channels_with_equals(senders: Sequence[Sender], channels: Iterable[ChannelName]) -> frozenset[ChannelName]:
    """Where more than one sender is as good as another for some country: what a recipient had last matters there."""
    return frozenset(channel for channel in channels if _has_equals(sender_table(senders, channel)))


def _has_equals(table: SenderTable) -> bool:
    return any(len(tier) > 1 for row in (*table.named.values(), table.elsewhere) for tier in row.tiers)


def chosen_from(senders: Iterable[Sender], names: Collection[str], kinds: Collection[SenderKind]) -> list[Sender]:
    """Those that a step names; all where it names none."""
    return [s for s in senders if (not names or s.name in names) and (not kinds or s.kind in kinds)]


def can_serve(sender: Sender, channel: ChannelName, country: str | None) -> bool:
    """Whether this sender may be used for recipients of this country on this channel."""
    return _could_serve(sender, channel, country) and not _waits_for_registration(sender, country)


def _by_country(senders: Sequence[Sender], value: Callable[[str | None], T]) -> ByCountry[T]:
    named: set[str | None] = {country for sender in senders for country in sender.countries}
    return ByCountry({country: value(country) for country in (*named, None, *US_AND_CANADA)}, value(_UNNAMED))


def _could_serve(sender: Sender, channel: ChannelName, country: str | None) -> bool:
    if channel not in sender.channels or sender.kind not in _KINDS.get(channel, SenderKind):
        return False
    if sender.countries and country not in sender.countries:
        return False
    if channel not in _PHONE_NETWORK:
        return True
    return _reaches_us_and_canada(sender) if country in US_AND_CANADA else _reaches_abroad(sender, country)


def _waits_for_registration(sender: Sender, country: str | None) -> bool:
    return not sender.registered and country in _NEEDS_REGISTRATION.get(sender.kind, ())


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


def _row(senders: Sequence[Sender], channel: ChannelName, country: str | None) -> Row:
    able = [sender for sender in senders if _could_serve(sender, channel, country)]
    waiting = [sender.name for sender in able if _waits_for_registration(sender, country)]
    left_out = f"{_named(waiting)} not used before the registration for {country} is approved" if waiting else ""
    # sorted() is stable: equals stay in the order of the configuration
    ranked = sorted((sender for sender in able if sender.name not in waiting), key=_breadth)
    equals = [list(tier) for _, tier in groupby(ranked, key=_breadth)]
    aside = f" ({left_out})" if left_out else ""
    tiers = tuple(
        tuple(Candidate.of(sender, channel, _why(tier, following, channel) + aside) for sender in tier)
        for tier, following in zip_longest(equals, equals[1:])
    )
    kept_because = f"the last message to this recipient on {channel} came from it"
    kept = {
        sender.name: Candidate.of(sender, channel, kept_because)
        for tier in equals
        for sender in tier
        if len(tier) > 1 and sender.weight
    }
    settled = tuple(tier[0] for tier in tiers) if all(len(tier) == 1 for tier in tiers) else None
    return Row(tiers, kept, settled, left_out)


def _breadth(sender: Sender) -> float:
    """The more specific its country list, the better a sender."""
    return len(sender.countries) or math.inf


def _why(tier: Sequence[Sender], following: Sequence[Sender] | None, channel: ChannelName) -> str:
    if len(tier) > 1:
        return f"of the equals {', '.join(sender.name for sender in tier)} the one that falls to this recipient"
    if following is None:
        return f"the only one that can serve this country on {channel}"
    return f"before '{following[0].name}', because its country list is more specific"


def _named(names: Sequence[str]) -> str:
    quoted = " and ".join(f"'{name}'" for name in names)
    return f"{quoted} {'is' if len(names) == 1 else 'are'}"


def _ranked(tiers: Iterable[Sequence[Candidate]], address: str, kept: Candidate | None) -> Iterable[Candidate]:
    recipient = crc32(address.encode())
    for tier in tiers:
        order = tier if len(tier) == 1 else sorted(tier, key=lambda each: _draw(each, recipient))
        if kept and any(each.name == kept.name for each in tier):
            yield kept
            yield from (each for each in order if each.name != kept.name)
        else:
            yield from order


def _draw(candidate: Candidate, recipient: int) -> float:
    """The candidate's draw for this recipient; the smallest wins, each as often as its weight says.

    Exponentially distributed draws at the rate of the weight: weighted rendezvous hashing.
    """
    if not candidate.weight:
        return math.inf
    share = (_mixed(candidate.seed ^ recipient) + 1) / (_MASK + 1)  # in (0, 1]
    return -math.log(share) / candidate.weight


_MASK = (1 << 64) - 1


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _mixed(value: int) -> int:
    """Every bit of the result depends on every bit of the value: the finalizer of SplitMix64.

    Steele, Lea, Flood: Fast splittable pseudorandom number generators (OOPSLA 2014).
    """
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)

"""How long a routing decision takes under the shipped policy.

    python -m bench.decide
    python -m bench.decide --json --decisions 100000

Each situation is decided on its own and all of them in turn, so that the mix is what a router under load sees. A run
takes the processor's time of this process, so that other processes on the machine count as little as they can; shown
is the median of the runs with the fastest and the slowest beside it. Making the decision's JSON object is timed apart:
a router does it once for each decision that it appends to its log.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.measure import machine
from channels.address import parse_recipient, zones_of
from channels.model import Category, ChannelName, FromNumber, Lane, Sender, SenderKind
from channels.registry import discover
from policies.document import shipped
from policies.engine import Policy, compile_policy, decide
from policies.explain import decision_as_dict
from policies.model import Decision, OptOut, RecipientFacts, RoutingRequest, TemplateRequest
from policies.world import TemplateEntry, World

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SMS, MMS, WHATSAPP = ChannelName("sms"), ChannelName("mms"), ChannelName("whatsapp")
TEXT = (
    "Hello Ana, your order 4711 is on its way and arrives on Monday between 9 and 12. Track it: https://example.com/t"
)


@dataclass(frozen=True, slots=True)
class Case:
    """A situation by name."""

    name: str
    request: RoutingRequest
    facts: RecipientFacts


@dataclass(frozen=True, slots=True)
class Figure:
    """Microseconds for each decision."""

    name: str
    median: float
    fastest: float
    slowest: float

    @property
    def per_second(self) -> float:
        """Decisions that one processor makes in a second."""
        return 1e6 / self.median


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.decide", description="Time routing decisions.")
    parser.add_argument("--decisions", type=int, default=20_000, help="in one run (default 20000)")
    parser.add_argument("--runs", type=int, default=5, help="of which the median counts (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    figures = measure(options.decisions, options.runs)
    print(_as_json(figures, options.runs) if options.json else _as_table(figures))


def measure(decisions: int, runs: int) -> list[Figure]:
    """Each case, all of them in turn, and all of them with their JSON objects."""
    policy, situations = compile_policy(shipped(), world()), cases()
    figures = [_figure(case.name, [case], policy, _decide, decisions, runs) for case in situations]
    figures.append(_figure("all in turn", situations, policy, _decide, decisions, runs))
    figures.append(_figure("all in turn, with the object", situations, policy, _decide_and_tell, decisions, runs))
    return figures


def world() -> World:
    """Three channels, five senders, of which two are equals, and one template in three languages."""
    america = frozenset({"US", "CA"})
    kinds: list[tuple[str, SenderKind, set[ChannelName], str | None, frozenset[str]]] = [
        ("us-1", SenderKind.TEN_DLC, {SMS, MMS}, "US", america),
        ("us-2", SenderKind.TEN_DLC, {SMS, MMS}, "US", america),
        ("europe", SenderKind.LONG_CODE, {SMS}, "GB", frozenset({"GB", "DE", "FR", "ES"})),
        ("world", SenderKind.MESSAGING_SERVICE, {SMS}, None, frozenset()),
        ("whatsapp", SenderKind.WHATSAPP, {WHATSAPP}, "US", frozenset()),
    ]
    senders = tuple(
        Sender(name, kind, frozenset(channels), FromNumber(name), country, countries, rate=10.0)
        for name, kind, channels, country, countries in kinds
    )
    template = TemplateEntry("order_shipped", "utility", {"en": "HXen", "es": "HXes", "pt_BR": "HXpt"})
    channels = discover().capabilities(())
    return World(senders, channels, {template.name: template})


def cases() -> list[Case]:
    """What traffic is made of."""
    session = {"whatsapp": NOW + timedelta(hours=3)}
    picture = ("https://cdn.example.com/1.jpg",)
    template = TemplateRequest("order_shipped", language="es-MX", variables={"name": "Ana", "day": "Monday"})
    stop = (OptOut("channel:whatsapp", NOW, "keyword"),)
    return [
        _case("text to the United States", "+12025550143"),
        _case("picture to Canada", "+14165550143", media=picture),
        _case("text in an open session", "+919876543210", sessions=session),
        _case("template, no session", "+5511961234567", template=template),
        _case("text, no session: SMS", "+447400123456"),
        _case("text pinned to SMS", "+12025550143", pin=SMS),
        _case("WhatsApp stopped", "+4915112345678", sessions=session, opt_outs=stop),
        _case("code, urgent", "+12025550143", lane=Lane.URGENT, category=Category.OTP),
        _case("nothing can work", "+919876543210", pin=WHATSAPP),
    ]


def _case(
    name: str,
    to: str,
    *,
    sessions: dict[str, datetime] | None = None,
    opt_outs: tuple[OptOut, ...] = (),
    lane: Lane = Lane.NORMAL,
    category: Category = Category.TRANSACTIONAL,
    media: tuple[str, ...] = (),
    template: TemplateRequest | None = None,
    pin: ChannelName | None = None,
) -> Case:
    recipient = parse_recipient(to)
    request = RoutingRequest("shop", lane, recipient, category, TEXT, media, template, pin)
    facts = RecipientFacts(opt_outs=opt_outs, sessions=sessions or {}, timezones=zones_of(recipient))
    return Case(name, request, facts)


def _decide(case: Case, policy: Policy) -> Decision:
    return decide(case.request, case.facts, policy, NOW)


def _decide_and_tell(case: Case, policy: Policy) -> dict[str, object]:
    return decision_as_dict(_decide(case, policy))


def _figure(
    name: str,
    situations: Sequence[Case],
    policy: Policy,
    work: Callable[[Case, Policy], object],
    decisions: int,
    runs: int,
) -> Figure:
    times = [_run(situations, policy, work, decisions) for _ in range(runs)]
    return Figure(name, statistics.median(times), min(times), max(times))


def _run(situations: Sequence[Case], policy: Policy, work: Callable[[Case, Policy], object], decisions: int) -> float:
    """Microseconds of processor time for each decision."""
    rounds = max(1, decisions // len(situations))
    began = time.process_time()
    for _ in range(rounds):
        for case in situations:
            work(case, policy)
    return (time.process_time() - began) / (rounds * len(situations)) * 1e6


def _as_table(figures: Sequence[Figure]) -> str:
    rows = [f"{'situation':<30} {'µs each':>9} {'fastest':>9} {'slowest':>9} {'a second':>11}"]
    rows += [
        f"{each.name:<30} {each.median:>9.1f} {each.fastest:>9.1f} {each.slowest:>9.1f} {each.per_second:>11,.0f}"
        for each in figures
    ]
    return "\n".join(rows)


def _as_json(figures: Sequence[Figure], runs: int) -> str:
    rows = [
        {
            "situation": each.name,
            "microseconds": round(each.median, 2),
            "fastest": round(each.fastest, 2),
            "slowest": round(each.slowest, 2),
            "per_second": round(each.per_second),
        }
        for each in figures
    ]
    return json.dumps({"policy": shipped().version, "runs": runs, "machine": machine(), "figures": rows}, indent=2)


if __name__ == "__main__":
    main()

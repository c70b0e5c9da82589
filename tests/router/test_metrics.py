"""What is counted, under which labels, and what the page of metrics says when NATS does not answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.aio.client import Client
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from channels.model import ProviderError
from channels.reasons import Reason
from router.breaker import BreakerState
from router.deadletters import DeadLetters
from router.events import Happening
from router.metrics import REGISTRY, Counted, Names, Observer
from router.metrics.backlog import Backlog
from router.metrics.page import Page
from router.story import About, Snapshot
from tests.factories import NOW
from tests.router.store import MemoryStore

PUBLISHED = NOW.timestamp()
ROUTED = Happening("routed", NOW, channel="sms", sender="us")
REFUSED = ProviderError("recipient_unreachable", 30003, "Unreachable destination handset")


def about(source: str) -> About:
    return About(source, "n1", "urgent", "otp", "+12025550123", {})


def append(happening: Happening, source: str, seconds: float = 0.0, published: float = PUBLISHED) -> None:
    Observer(lambda: PUBLISHED + seconds).appended(about(source), happening, Snapshot("f", 1, published=published))


def value(sample: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(sample, labels) or 0.0


@pytest.fixture
def off() -> Iterator[None]:
    Counted.on = False
    yield
    Counted.on = True


#: What happened, and the sample that it moves by one.
CASES = [
    (ROUTED, "pointsman_notifications_total", {"source": "m1", "lane": "urgent", "decision": "routed"}),
    (ROUTED, "pointsman_events_total", {"status": "routed", "channel": "sms"}),
    (ROUTED, "pointsman_notification_seconds_count", {"stage": "routed", "lane": "urgent"}),
    (
        Happening("suppressed", NOW, reason=Reason.OPTED_OUT),
        "pointsman_notifications_total",
        {"source": "m1", "lane": "urgent", "decision": "suppressed"},
    ),
    (replace(ROUTED, status="sending"), "pointsman_attempts_total", {"channel": "sms", "sender": "us"}),
    (
        replace(ROUTED, status="accepted"),
        "pointsman_outcomes_total",
        {"channel": "sms", "sender": "us", "status": "accepted", "class": ""},
    ),
    (
        replace(ROUTED, status="undelivered", error=REFUSED),
        "pointsman_outcomes_total",
        {"channel": "sms", "sender": "us", "status": "undelivered", "class": "recipient_unreachable"},
    ),
    (
        replace(ROUTED, status="accepted"),
        "pointsman_notification_seconds_count",
        {"stage": "handed_over", "lane": "urgent"},
    ),
    (
        replace(ROUTED, status="delivered"),
        "pointsman_notification_seconds_count",
        {"stage": "delivered", "lane": "urgent"},
    ),
    (
        replace(ROUTED, status="accepted", reason=Reason.RESOLVED_BY_CALLBACK),
        "pointsman_unknown_resolved_total",
        {"by": "callback"},
    ),
    (
        replace(ROUTED, status="failed", reason=Reason.NOT_FOUND),
        "pointsman_unknown_resolved_total",
        {"by": "on_unknown"},
    ),
]


@pytest.mark.parametrize(("happening", "sample", "labels"), CASES, ids=[f"{h.status}-{s}" for h, s, _ in CASES])
def test_an_appended_event_is_counted_once(happening: Happening, sample: str, labels: dict[str, str]) -> None:
    before = value(sample, **labels)
    append(happening, "m1")
    assert value(sample, **labels) == before + 1


def test_the_way_is_timed_from_the_publication() -> None:
    labels = {"stage": "delivered", "lane": "urgent"}
    before = value("pointsman_notification_seconds_sum", **labels)
    append(replace(ROUTED, status="delivered"), "m1", seconds=2.5)
    assert value("pointsman_notification_seconds_sum", **labels) == pytest.approx(before + 2.5)


def test_a_clock_that_is_ahead_counts_as_no_time_at_all() -> None:
    labels = {"stage": "routed", "lane": "urgent"}
    before = value("pointsman_notification_seconds_sum", **labels)
    append(ROUTED, "m1", seconds=-3)
    assert value("pointsman_notification_seconds_sum", **labels) == before


def test_what_was_published_nobody_knows_when_is_not_timed() -> None:
    labels = {"stage": "routed", "lane": "urgent"}
    before = value("pointsman_notification_seconds_count", **labels)
    append(ROUTED, "m1", published=0.0)
    assert value("pointsman_notification_seconds_count", **labels) == before


def test_sources_beyond_the_limit_share_a_name() -> None:
    names = Names(2)
    assert [names.of(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]


def test_switched_off_nothing_is_counted(off: None) -> None:
    append(ROUTED, "m2")
    assert value("pointsman_notifications_total", source="m2", lane="urgent", decision="routed") == 0


class FakeQueue:
    """A queue whose breaker is open."""

    rests_for = 0.0
    left_today = {"messages": 5}  # noqa: RUF012 - read only
    depth = {"urgent": 1, "normal": 2, "bulk": 0}  # noqa: RUF012 - read only
    in_flight = 3
    breaker = BreakerState.OPEN


async def families() -> list[Metric]:
    """What a router says that paces one sender and whose NATS is away."""
    store = MemoryStore()
    letters = DeadLetters(store, lambda: datetime.now(UTC), "deadletters")
    page = Page({"us": FakeQueue()}, Backlog(store, letters, "deadletters", ["us"]), Client(), lambda: "p1")
    _, body = await page.render()
    return list(text_string_to_metric_families(body.decode()))


async def test_the_page_answers_while_nats_does_not() -> None:
    samples = {(s.name, frozenset(s.labels.items())): s.value for family in await families() for s in family.samples}
    assert samples["pointsman_backlog_read", frozenset()] == 0
    assert samples["pointsman_nats_connected", frozenset()] == 0
    assert samples["pointsman_policy_info", frozenset({("version", "p1")})] == 1
    assert samples["pointsman_sender_fetched", frozenset({("sender", "us"), ("lane", "normal")})] == 2
    assert samples["pointsman_sender_in_flight", frozenset({("sender", "us")})] == 3
    for state in BreakerState:
        labels = frozenset({("sender", "us"), ("state", state.value)})
        assert samples["pointsman_sender_breaker", labels] == (state is BreakerState.OPEN)
    assert {name for name, _ in samples} & {"pointsman_queue_messages", "pointsman_dead_letters_open"} == set()


async def test_every_metric_has_its_row_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    described = dict(re.findall(r"^\| `(pointsman_\w+)` \|([^|]*)\|", text, re.MULTILINE))
    shown = {
        f"{each.name}_total" if each.type == "counter" else each.name: each
        for each in await families()
        if each.name.startswith("pointsman_")
    }
    assert set(described) == set(shown)
    for name, family in shown.items():
        for label in {label for sample in family.samples for label in sample.labels} - {"le"}:
            assert f"`{label}`" in described[name], f"{name} has the label {label}"

"""The newest part of the log in memory: bounded, counted, searchable."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import Any

from router.console.feed import SLOT, SLOTS, Feed, Seen, delivered_share
from router.console.pages.overview import decided

NOW = 1_000_000_000.0


def an_event(status: str, identity: str = "n1", **fields: Any) -> tuple[str, bytes]:
    """Subject and body, written as the router writes them: without blanks."""
    channel = fields.pop("channel", "sms")
    body = {"status": status, "notification_id": identity, "recipient": "+12025550123", "provider_message_id": None}
    return f"deliveries.shop.{status}.{channel}.{identity}", json.dumps(
        {"final": False, "sender": "us", "decision": None, **body, **fields}, separators=(",", ":")
    ).encode()


def routed(identity: str = "n1", country: str = "US") -> tuple[str, bytes]:
    return an_event("routed", identity, decision={"facts": {"country": country}})


class Log:
    """Feeds a feed, an event a second."""

    def __init__(self, most: int = 100) -> None:
        self.now = NOW
        self.feed = Feed(most, lambda: self.now)
        self._sequence = 0

    def add(self, *events: tuple[str, bytes]) -> Log:
        for subject, body in events:
            self._sequence += 1
            self.now += 1
            self.feed.take(self._sequence, self.now, subject, body)
        return self


def test_a_notification_stands_where_its_newest_event_left_it() -> None:
    log = Log().add(routed(), an_event("sending"), an_event("accepted"), an_event("delivered", final=True))
    (line,) = log.feed.lines()
    assert (line.status, line.channel, line.country, line.final) == ("delivered", "sms", "US", True)
    assert log.feed.standing() == Counter({("sms", "US", "delivered"): 1})


def test_what_was_the_end_stays_the_end_when_more_is_learnt() -> None:
    log = Log().add(an_event("delivered", final=True), an_event("read"))
    assert log.feed.lines()[0].final is True
    assert log.feed.standing() == Counter({("sms", "—", "read"): 1})


def test_each_notification_counts_once_by_where_it_stands() -> None:
    log = Log()
    log.add(routed("a", "US"), an_event("accepted", "a"))
    log.add(routed("b", "JM"), an_event("failed", "b"))
    log.add(an_event("suppressed", "c", channel="none", final=True))
    log.add(routed("d", "JM"), an_event("sent", "d", final=True))
    assert log.feed.standing() == Counter(
        {
            ("sms", "US", "under way"): 1,
            ("sms", "JM", "failed"): 1,
            ("none", "—", "not sent"): 1,
            ("sms", "JM", "sent"): 1,
        }
    )


def test_memory_is_bounded_however_long_the_log_is() -> None:
    log = Log(most=10).add(*(routed(f"n{number}") for number in range(1000)))
    assert len(log.feed.newest(10_000)) == 10
    assert len(log.feed.lines()) == 10
    assert len(log.feed.points()) == SLOTS
    assert log.feed.first == 991
    log.now += SLOT * (SLOTS + 1)
    log.add(routed("later"))
    assert sum(sum(point.counts.values()) for point in log.feed.points()) == 0  # its slot is not over


def test_a_plot_has_every_slot_and_leaves_out_the_one_that_is_not_over() -> None:
    log = Log().add(an_event("accepted"), an_event("accepted"))
    log.now = (NOW // SLOT + 1) * SLOT
    points = log.feed.points()
    assert points[-1].counts == {("accepted", "sms"): 2}
    assert {later.at - earlier.at for earlier, later in pairwise(points)} == {SLOT}


def test_the_pace_of_a_sender_is_counted_by_what_its_provider_took() -> None:
    log = Log().add(an_event("accepted"), an_event("accepted", sender="uk"), an_event("sending"))
    log.now = (NOW // SLOT + 1) * SLOT
    assert (log.feed.a_minute("us"), log.feed.a_minute("uk"), log.feed.a_minute("fr")) == (1, 1, 0)


def test_every_decision_counts_whatever_was_decided() -> None:
    log = Log().add(
        *(an_event(status, status) for status in ("routed", "suppressed", "deferred", "rejected", "expired"))
    )
    log.add(an_event("sending"), an_event("accepted"), an_event("delivered"))
    log.now = (NOW // SLOT + 2) * SLOT
    assert decided(log.feed.points()) == 5


def found(log: Log, wanted: str) -> list[str]:
    return [f"{each.notification_id} {each.status}" for each in log.feed.find(wanted, 10)]


def test_a_search_finds_the_newest_event_of_each_notification() -> None:
    log = Log()
    log.add(routed("a"), an_event("accepted", "a", provider_message_id="SM1"))
    log.add(routed("b"), an_event("accepted", "b", provider_message_id="SM2", recipient="+18765550100"))
    assert found(log, "+12025550123") == ["b routed", "a accepted"]
    assert found(log, "b") == ["b accepted"]
    assert found(log, "SM2") == ["b accepted"]


def test_a_search_is_for_whole_values() -> None:
    log = Log().add(an_event("accepted", "a", metadata={"note": "+12025550999"}))
    assert found(log, "+12025550999") == []  # metadata is not searched
    assert found(log, "+1202555") == []


def test_an_event_can_be_read_whole() -> None:
    subject, body = routed()
    assert Seen(1, NOW, "shop", "routed", "sms", "n1", body).event["decision"]["facts"]["country"] == "US"
    assert subject.startswith("deliveries.shop.routed")


def test_the_share_of_deliveries_counts_what_ended() -> None:
    assert delivered_share(Counter({("delivered", "sms"): 3, ("undelivered", "sms"): 1, ("sent", "sms"): 9})) == 0.75
    assert delivered_share(Counter({("sent", "sms"): 9})) is None

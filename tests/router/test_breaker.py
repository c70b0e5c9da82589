"""The breaker of one sender: opens on repeated unavailability, probes with one message, closes."""

from __future__ import annotations

from channels.errors import OutcomeUnknownError, ProviderRejectedError, ProviderUnavailableError, SenderConfigError
from channels.model import ProviderMessageId, SendReceipt
from router.breaker import Breaker, BreakerState

DOWN = ProviderUnavailableError("connection refused")
TAKEN = SendReceipt(ProviderMessageId("SM1"), "queued")


def an_open_breaker(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(5):
        breaker.heard(DOWN, now)
    return breaker


def test_four_failures_in_a_row_leave_it_closed_and_the_fifth_opens_it() -> None:
    breaker = Breaker()
    changes = [breaker.heard(DOWN, 0.0) for _ in range(5)]
    assert changes == [False, False, False, False, True]
    assert breaker.state is BreakerState.OPEN
    assert breaker.wait(0.0) == 1.0


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker()
    for outcome in (DOWN, DOWN, DOWN, DOWN, TAKEN, DOWN, DOWN, DOWN, DOWN):
        breaker.heard(outcome, 0.0)
    assert breaker.state is BreakerState.CLOSED


def test_a_definite_refusal_shows_that_the_provider_works() -> None:
    breaker = Breaker()
    for _ in range(20):
        breaker.heard(ProviderRejectedError("not a mobile number"), 0.0)
    assert breaker.state is BreakerState.CLOSED


def test_trouble_behind_the_provider_shows_that_the_provider_works() -> None:
    breaker = Breaker()
    for _ in range(20):
        breaker.heard(ProviderUnavailableError("the mailbox is full", slow=True), 0.0)
    assert breaker.state is BreakerState.CLOSED


def test_one_probe_goes_when_the_pause_is_over_and_no_other_before_its_answer() -> None:
    breaker = an_open_breaker()
    assert breaker.wait(1.0) == 0.0
    breaker.sending()
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.wait(1.0) > 0.0


def test_a_failed_probe_doubles_the_pause_up_to_a_minute() -> None:
    breaker, now, pauses = an_open_breaker(), 0.0, []
    for _ in range(8):
        now += breaker.wait(now)
        breaker.sending()
        breaker.heard(DOWN, now)
        pauses.append(breaker.wait(now))
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_a_successful_probe_closes_it_and_forgets_the_long_pause() -> None:
    breaker = an_open_breaker()
    breaker.sending()
    assert breaker.heard(TAKEN, 1.0)
    assert breaker.wait(1.0) == 0.0
    for _ in range(5):
        breaker.heard(DOWN, 10.0)
    assert breaker.wait(10.0) == 1.0


def test_messages_in_flight_when_it_opened_do_not_lengthen_the_pause() -> None:
    # Sixty requests that time out together opened it once and then pushed the first probe a minute away.
    breaker = an_open_breaker()
    for _ in range(60):
        breaker.heard(OutcomeUnknownError("no answer"), 0.5)
    assert breaker.wait(0.5) == 0.5


def test_a_probe_that_sent_nothing_leaves_the_question_open() -> None:
    breaker = an_open_breaker()
    breaker.sending()
    breaker.not_sent()
    assert breaker.state is BreakerState.OPEN
    assert breaker.wait(5.0) == 0.0


def test_a_refused_sender_stops_at_once_for_a_minute() -> None:
    breaker = Breaker()
    assert breaker.heard(SenderConfigError("authentication failed"), 100.0)
    assert breaker.wait(100.0) == 60.0
    assert breaker.why == "authentication failed"

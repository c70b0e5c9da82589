from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.errors import (
    BY_CLASS,
    ChannelConfigError,
    MessageInvalidError,
    OutcomeUnknownError,
    ProviderRejectedError,
    ProviderResponseError,
    ProviderThrottledError,
    ProviderUnavailableError,
    RecipientOptedOutError,
    RecipientUnreachableError,
    SenderConfigError,
    SendError,
    ServiceWindowClosedError,
)
from channels.model import ProviderError
from channels.twilio.errors import (
    CODES,
    MAX_RETRY_AFTER,
    error_class_for_callback,
    error_from,
    lenient_code,
    redact,
    seconds_to_wait,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

#: Documented without a verified meaning: the safe default is better than a guess.
UNVERIFIED = {21660, 21661, 30037, 30044, 63050, 63052, 63053, *range(63055, 63062)}


#: What an address will not get for days.
LASTING = {21211, 21265, 21614, 21635, 30005, 30006, 30011, 63003, 63014, 63024, 63036}


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, 20003, SenderConfigError),
        (401, 401, SenderConfigError),
        (401, None, SenderConfigError),
        (403, 29999, SenderConfigError),
        (404, 20404, ChannelConfigError),
        (404, 404, ChannelConfigError),
        (400, 21211, RecipientUnreachableError),
        (400, 21212, SenderConfigError),
        (400, 21408, ChannelConfigError),
        (400, 21610, RecipientOptedOutError),
        (400, 21611, ProviderThrottledError),
        (400, 21617, MessageInvalidError),
        (400, 63007, SenderConfigError),
        (400, 63016, ServiceWindowClosedError),
        (400, 21730, ProviderUnavailableError),
        (409, 20409, ProviderUnavailableError),
        (429, 20429, ProviderThrottledError),
        (429, 429, ProviderThrottledError),
        (429, 21211, ProviderThrottledError),  # the status alone says that nothing was processed
        (408, 408, OutcomeUnknownError),
        (500, 20500, OutcomeUnknownError),
        (503, 20503, OutcomeUnknownError),
        (503, 20429, OutcomeUnknownError),  # a 5xx stays unknown, whatever its code
        (500, 21211, OutcomeUnknownError),
        (502, None, OutcomeUnknownError),
        (400, 400, ProviderResponseError),
        (400, None, ProviderResponseError),
        (307, 307, ProviderResponseError),
        (400, 29999, ProviderRejectedError),
        (400, "InvalidSandboxRequest", ProviderRejectedError),
    ],
)
def test_answers_of_the_api(status: int, code: int | str | None, expected: type[SendError]) -> None:
    error = error_from(status, code)
    assert type(error) is expected
    assert error.provider_code == code
    assert error.message


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("30003", ProviderError("provider_unavailable", 30003, CODES[30003].text, slow=True)),
        ("30007", ProviderError("provider_rejected", 30007, CODES[30007].text)),
        ("30410", ProviderError("outcome_unknown", 30410, CODES[30410].text)),
        ("63016", ProviderError("service_window_closed", 63016, CODES[63016].text)),
        ("63033", ProviderError("recipient_opted_out", 63033, CODES[63033].text)),
        (21610, ProviderError("recipient_opted_out", 21610, CODES[21610].text)),
        ("InvalidSandboxRequest", ProviderError("provider_rejected", "InvalidSandboxRequest", "words of [number]")),
        ("99999", ProviderError("provider_rejected", 99999, "words of [number]")),
        (None, ProviderError("provider_rejected", None, "words of [number]")),
    ],
)
def test_errors_of_callbacks(code: int | str | None, expected: ProviderError) -> None:
    assert error_class_for_callback(code, "words of +15017122661") == expected


def test_what_lasts_is_said_of_addresses_alone() -> None:
    assert {meaning.error for meaning in CODES.values() if meaning.lasting} == {RecipientUnreachableError}
    passing = {code for code, meaning in CODES.items() if meaning.error is RecipientUnreachableError} - LASTING
    assert {code for code, meaning in CODES.items() if meaning.lasting} == LASTING
    assert passing == {63032}  # an experiment of WhatsApp's


def test_no_code_is_in_the_table_whose_meaning_is_not_verified() -> None:
    assert not UNVERIFIED & set(CODES)


def test_every_row_can_be_raised_and_recorded() -> None:
    for code, meaning in CODES.items():
        error = error_from(400, code)
        assert type(error) is meaning.error
        assert (error.slow, error.alert, error.lasting) == (meaning.slow, meaning.alert, meaning.lasting)
        assert error_class_for_callback(code).lasting == meaning.lasting
        assert BY_CLASS[error.as_provider_error().error_class] is meaning.error
        assert re.fullmatch(r"[^\n]{5,80}", error.message)


def test_slow_is_said_of_what_can_be_tried_again() -> None:
    assert all(row.error.retryable for row in CODES.values() if row.slow)


def test_an_unknown_code_keeps_the_providers_words_and_is_brought_to_an_operator() -> None:
    error = error_from(400, 29999, "The 'To' number +1 (501) 712-2661 is odd")
    assert (error.message, error.alert) == ("The 'To' number [number] is odd", True)


def test_a_throttled_answer_says_how_long_to_wait() -> None:
    assert error_from(429, 20429, retry_after=3.5).retry_after == 3.5


@pytest.mark.parametrize(
    ("code", "read"),
    [
        (30008, 30008),
        ("30008", 30008),
        ("InvalidSandboxRequest", "InvalidSandboxRequest"),
        ("", None),
        (None, None),
        (True, None),
        ([30008], None),
        ("9" * 5000, "[number]"),
        ("x" * 100, "x" * 64),
        ("٣٠٠٠٨", "٣٠٠٠٨"),
    ],
)
def test_codes_are_read_leniently(code: object, read: int | str | None) -> None:
    assert lenient_code(code) == read


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0.5", 0.5),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 12:00:30 -0000", 30.0),
        ("Mon, 23 Nov 2026 11:59:30 GMT", 0.0),
        ("Fri, 23 Nov 2096 12:00:30 GMT", MAX_RETRY_AFTER),
        ("999999999", MAX_RETRY_AFTER),
        ("9" * 400, None),
        ("-7", None),
        ("nan", None),
        ("soon", None),
        ("Mon, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_a_count_or_a_date(header: str | None, seconds: float | None) -> None:
    assert seconds_to_wait(header, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, ""),
        ("code 21211 of 2026-11", "code 21211 of 2026-11"),
        ("to +15017122661.", "to [number]."),
        ("to whatsapp:15017122661", "to whatsapp:[number]"),
        ("to (501) 712-2661", "to ([number]"),
        ("x" * 300, "x" * 200),
    ],
)
def test_numbers_are_taken_out(text: str | None, shown: str) -> None:
    assert redact(text) == shown


@given(st.text(), st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True), st.text())
def test_no_number_survives(before: str, number: str, after: str) -> None:
    assert number not in redact(f"{before}{number}{after}")


def test_private_values_are_taken_out() -> None:
    assert redact("'Hello' is odd", ["", "Hello"]) == "'[redacted]' is odd"

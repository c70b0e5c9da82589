"""Addresses are read once, at the edge; the short way for North American numbers says what the library says."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import timezone

from channels.address import AddressError, parse_phone, parse_recipient, zones_of
from channels.model import Handle, PhoneNumber

NORTH_AMERICAN = st.from_regex(r"[2-9][0-9]{9}", fullmatch=True)


@given(NORTH_AMERICAN)
def test_e164_and_the_national_way_of_writing_name_the_same_number(digits: str) -> None:
    # The national way goes through the library.
    assert parse_phone(f"+1{digits}", None) == parse_phone(f"{digits[:3]}-{digits[3:6]}-{digits[6:]}", "US")


@given(NORTH_AMERICAN)
def test_zones_are_those_of_the_library(digits: str) -> None:
    known = timezone.time_zones_for_number(phonenumbers.parse(f"+1{digits}"))
    assert zones_of(parse_recipient(f"+1{digits}")) == tuple(z for z in known if z != timezone.UNKNOWN_TIMEZONE)


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+12025550143", "US"),
        ("+14165550143", "CA"),
        ("+18765550143", "JM"),
        ("+18095550143", "DO"),
        ("+17875550143", "PR"),
        ("+18005550143", "US"),
        # An exchange that is not assigned: the area code says where it would be.
        ("+14160550143", "CA"),
    ],
)
def test_a_north_american_number_is_placed_by_its_area_code(number: str, country: str) -> None:
    assert parse_phone(number, None) == PhoneNumber(number, country)


def test_a_region_that_does_not_exist_is_refused_even_beside_e164() -> None:
    with pytest.raises(AddressError, match="no ISO 3166-1"):
        parse_phone("+12025550143", "XX")


@pytest.mark.parametrize("text", ["+1202555014", "+120255501433", "+11025550143", "+1 202 555", "+1202555014x"])
def test_what_is_no_north_american_number_is_left_to_the_library(text: str) -> None:
    try:
        expected = phonenumbers.is_possible_number(phonenumbers.parse(text))
    except phonenumbers.NumberParseException:
        expected = False
    if expected:
        assert parse_phone(text, None).e164.startswith("+1")
    else:
        with pytest.raises(AddressError):
            parse_phone(text, None)


def test_a_handle_is_in_no_zone() -> None:
    assert zones_of(Handle("whatsapp", "GB.123", "GB")) == ()

"""Recipients are parsed once, at the edge, into a value that says which address space and which country they are in."""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, timezone

from channels.model import Handle, PhoneNumber, Recipient

#: A WhatsApp business-scoped user id is an ISO country code, a dot and up to 128 letters or digits.
#: https://developers.facebook.com/docs/whatsapp/business-scoped-user-ids
_USER_ID = re.compile(r"([A-Z]{2})\.[A-Za-z0-9]{1,128}")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,31}):(.{1,256})")
_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
#: A number of the North American plan: area code and exchange, then the line.
_NORTH_AMERICAN = re.compile(r"\+1([2-9][0-9]{5})[0-9]{4}")

#: Addresses whose reading is remembered: one notification is looked at several times on its way.
_REMEMBERED = 4_096
#: Exchanges of North American numbers that are remembered; there are 800,000, and a few thousand are in use in a city.
_EXCHANGES = 16_384


class AddressError(ValueError):
    """Not an address; the message says what to write instead and never repeats the address."""


@lru_cache(maxsize=_REMEMBERED)
def parse_recipient(text: str, region: str | None = None) -> Recipient:
    """E.164, a national number with `region`, `whatsapp:<user id>`, or a plugin's `scheme:address`."""
    text = text.strip()
    if match := _SCHEME.fullmatch(text):
        return parse_handle(match[1], match[2])
    return parse_phone(text, region)


def parse_handle(scheme: str, value: str) -> Recipient:
    """An address that names its own space."""
    if scheme == "tel":
        return parse_phone(value, None)
    if scheme != "whatsapp":
        return Handle(scheme, value, None)
    if match := _USER_ID.fullmatch(value):
        return Handle("whatsapp", value, match[1])
    raise AddressError(
        "after 'whatsapp:' a business-scoped user id is expected ('GB.13491208655302741918'); "
        "for a phone number write E.164 alone and pin it with channel 'whatsapp'"
    )


def parse_phone(text: str, region: str | None) -> PhoneNumber:
    """Any way of writing a phone number, normalised; possible but unassigned numbers are taken."""
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        raise AddressError(f"region {region!r} is no ISO 3166-1 alpha-2 country with phone numbers")
    if match := _NORTH_AMERICAN.fullmatch(text):
        return PhoneNumber(text, _exchange(match[1])[0])
    return _read_phone(text, region)


@lru_cache(maxsize=_EXCHANGES)
def _exchange(digits: str) -> tuple[str, tuple[str, ...]]:
    """Country and zones of a North American exchange: nothing in the numbering plan depends on the line behind it.

    The library's answer takes it a hundred times as long as looking the exchange up here.
    """
    number = _read_phone(f"+1{digits}0100", None)
    return number.country, _read_zones(number)


def _read_phone(text: str, region: str | None) -> PhoneNumber:
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException:
        raise AddressError(_advice(region)) from None
    if not phonenumbers.is_possible_number(number) or number.extension:
        raise AddressError(_advice(region))
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    return PhoneNumber(e164, country_of(number))


def _advice(region: str | None) -> str:
    if region is None:
        return "not a phone number in E.164 ('+15017122661'); for a national number give 'region' too"
    return f"not a possible phone number in {region}"


def country_of(number: phonenumbers.PhoneNumber) -> str:
    """ISO country of a number, unassigned ones included.

    Countries share calling codes (+1 has 25), and the metadata names a country only for assigned numbers. An
    unassigned one is placed by its area code: the country that an assignable number of the same area code has.
    """
    if region := phonenumbers.region_code_for_number(number):
        return str(region)
    if number.country_code == 1:
        neighbour = phonenumbers.parse(f"+1{str(number.national_number)[:3]}2345678")
        if region := phonenumbers.region_code_for_number(neighbour):
            return str(region)
    assert number.country_code is not None
    return str(phonenumbers.region_code_for_country_code(number.country_code))


def zones_of(recipient: Recipient) -> tuple[str, ...]:
    """IANA zones that a number may be in; none where nothing is known."""
    if not isinstance(recipient, PhoneNumber):
        return ()
    if match := _NORTH_AMERICAN.fullmatch(recipient.e164):
        return _exchange(match[1])[1]
    return _read_zones(recipient)


@lru_cache(maxsize=_REMEMBERED)
def _read_zones(recipient: PhoneNumber) -> tuple[str, ...]:
    number = phonenumbers.parse(recipient.e164)
    return tuple(zone for zone in timezone.time_zones_for_number(number) if zone != timezone.UNKNOWN_TIMEZONE)


def is_e164(text: str) -> bool:
    """Whether this is E.164 to the letter."""
    return _E164.fullmatch(text) is not None


def country_of_e164(e164: str) -> str | None:
    """ISO country of a configured sender's number; None for short codes and alphanumeric ids."""
    if not is_e164(e164):
        return None
    try:
        return parse_phone(e164, None).country
    except AddressError:
        return None

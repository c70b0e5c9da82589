"""Which time zones one phone number may be in, by what its digits tell.

Most numbers tell one zone. A mobile number of Russia may be in any of sixteen, one of Spain in two; so the clock of its
owner shows several times at once, as far as anybody can know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import phonenumbers
from phonenumbers.tzdata import TIMEZONE_DATA

from channels.address import country_of
from policies.zones import zone_named

#: Calling code of the North American plan, whose area codes are of different countries.
_NORTH_AMERICA = "1"
#: Digits that make a possible number of any area code there.
_SUBSCRIBER = "2345678901"
_NORTH_AMERICAN_DIGITS = 11
_LONGEST_CODE = 3


@cache
def zones_of_one_number() -> Mapping[tuple[str, ...], frozenset[str]]:
    """Several zones that one number may be in -> the countries of such numbers.

    Numbers that ring at nobody's in particular, such as toll-free ones, are left out: they may be in any zone.
    """
    found: dict[tuple[str, ...], set[str]] = {}
    for prefix, zones in TIMEZONE_DATA.items():
        known = tuple(zone for zone in zones if zone_named(zone))
        if len(known) > 1 and prefix != _NORTH_AMERICA:
            found.setdefault(known, set()).update(_countries(prefix))
    return {zones: frozenset(countries) for zones, countries in found.items()}


def _countries(prefix: str) -> Iterator[str]:
    if prefix.startswith(_NORTH_AMERICA):
        yield country_of(phonenumbers.parse("+" + (prefix + _SUBSCRIBER)[:_NORTH_AMERICAN_DIGITS]))
        return
    codes = (int(prefix[:length]) for length in range(1, _LONGEST_CODE + 1))
    yield from next(filter(None, map(phonenumbers.region_codes_for_country_code, codes)), ())

"""A hint that is right about the last keys, and bounded whatever comes."""

from __future__ import annotations

import pytest

from router.lately import Lately

SIZE = 100


@pytest.mark.parametrize("count", [1, 49, 50, 51, 99, 100, 101, 149, 150, 1_000])
def test_what_came_within_the_last_half_is_known_and_what_is_older_than_all_is_not(count: int) -> None:
    lately = Lately(SIZE)
    for number in range(count):
        assert not lately.seen(("shop", f"n-{number}"))
    assert all(lately.seen(("shop", f"n-{number}")) for number in range(max(0, count - SIZE // 2), count))
    if count > SIZE:
        assert not lately.seen(("shop", "n-0"))


def test_it_holds_no_more_than_it_may() -> None:
    lately = Lately(SIZE)
    for number in range(10 * SIZE):
        lately.seen(number)
    assert sum(lately.seen(number) for number in reversed(range(10 * SIZE))) <= SIZE


def test_the_smallest_knows_nothing_older_than_the_last() -> None:
    lately = Lately(1)
    assert [lately.seen(key) for key in "aaba"] == [False, True, False, False]

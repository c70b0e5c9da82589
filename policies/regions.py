"""Sets of situations in as few words as possible: grown from single ones into boxes that can be named.

A box has a set of values in each dimension and holds every situation that combines them. It grows as long as it covers
nothing that is not meant; what does not matter (because a guard stops it, say) may be inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

from policies.space import Dimension, Space

Point = tuple[int, ...]
Box = list[tuple[int, ...]]  #: for each dimension, settings before circumstances, the indices of its values

#: Values of one dimension that are named; more are counted.
_NAMED = 4
#: Dimensions in the order in which a box grows: from what a reader would rather not hear of.
_GROWTH = (
    "reach",
    "pin",
    "lane",
    "clock",
    "source",
    "text",
    "media",
    "category",  # before templates, some of which are of one category alone
    "template",
    "session",
    "address",
    "country",
)


@dataclass(frozen=True, slots=True)
class Region:
    """A box in words."""

    words: str  #: only what it is limited to; empty: it is everything
    example: str  #: one situation of it, in full


def regions(meant: Mapping[Point, int], matters: Mapping[Point, int], space: Space) -> Iterator[Region]:
    """Boxes that cover everything that is meant, setting by setting, and of what matters nothing else."""
    left = dict(meant)
    while left:
        point, circumstances = next(iter(left.items()))
        seed: Box = [(index,) for index in (*point, *_lowest(circumstances, space))]
        box = _grown(seed, meant, matters, space)
        yield Region(_words(box, space), ", ".join(_named(seed, space)))
        inside = _circumstances(box, space)
        for covered in _points(box, space):
            if covered in left and not (rest := left[covered] & ~inside):
                del left[covered]
            elif covered in left:
                left[covered] = rest


def _dimensions(space: Space) -> tuple[Dimension, ...]:
    return (*space.settings, *space.circumstances)


def _lowest(circumstances: int, space: Space) -> Point:
    """The first circumstance of the set, as indices."""
    bit = (circumstances & -circumstances).bit_length() - 1
    sizes = [len(dimension.values) for dimension in space.circumstances]
    return tuple(bit // prod(sizes[place + 1 :]) % size for place, size in enumerate(sizes))


def _grown(seed: Box, meant: Mapping[Point, int], matters: Mapping[Point, int], space: Space) -> Box:
    """Each dimension whole where that is meant, else with as many values as are."""
    box = list(seed)
    places = {dimension.name: place for place, dimension in enumerate(_dimensions(space))}
    for name in _GROWTH:
        place = places[name]
        everything = tuple(range(len(_dimensions(space)[place].values)))
        for values in (everything, *((value,) for value in everything)):
            wider = tuple(sorted({*box[place], *values}))
            candidate = [*box[:place], wider, *box[place + 1 :]]
            if wider != box[place] and _is_meant(candidate, meant, matters, space):
                box = candidate
    return box


def _is_meant(box: Box, meant: Mapping[Point, int], matters: Mapping[Point, int], space: Space) -> bool:
    inside = _circumstances(box, space)
    return all(matters.get(point, 0) & inside & ~meant.get(point, 0) == 0 for point in _points(box, space))


def _points(box: Box, space: Space) -> Iterator[Point]:
    return product(*box[: len(space.settings)])


def _circumstances(box: Box, space: Space) -> int:
    inside = space.everything
    for dimension, values in zip(space.circumstances, box[len(space.settings) :], strict=True):
        inside &= sum(space.masks[dimension.name][value] for value in values)
    return inside


def _words(box: Box, space: Space) -> str:
    limits = [
        _either([dimension.values[value].words for value in values])
        for dimension, values in zip(_dimensions(space), box, strict=True)
        if len(values) < len(dimension.values)
    ]
    return ", ".join(limits)


def _either(words: list[str]) -> str:
    rest = f" or {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return " or ".join(words[:_NAMED]) + rest


def _named(box: Box, space: Space) -> Iterator[str]:
    """One situation in words; of the circumstances only those that are not the ordinary ones, and the category."""
    for place, (dimension, values) in enumerate(zip(_dimensions(space), box, strict=True)):
        if place < len(space.settings) or values != (0,) or dimension.name == "category":
            yield dimension.values[values[0]].words

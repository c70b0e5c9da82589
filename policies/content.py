"""What the recipient reads where the content is put together here: the policy measures it, the router sends it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from channels.segments import count_segments

#: A variable of a template, as the Content API writes it.
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,16})\s*\}\}")
#: Characters that take one septet each: most texts are made of them, and are measured at the speed of their length.
_ONE_SEPTET_EACH = re.compile(r"[ -Z_a-z\n\r]*")
_ALONE, _PART = 160, 153  # septets of a message of one part, and of each of several


def text_with_links(text: str | None, urls: Sequence[str]) -> str:
    """The body of the form `link`: the text, then each address on a line of its own."""
    return "\n".join([text, *urls] if text else urls)


def placeholders_in(text: str) -> frozenset[str]:
    """The variables that a text names."""
    return frozenset(_PLACEHOLDER.findall(text))


def filled(text: str, variables: Mapping[str, str]) -> str:
    """The text with its variables; one without a value stays as it is written. What a value says is not read again."""
    return _PLACEHOLDER.sub(lambda match: variables.get(match[1], match[0]), text)


def segments_of(text: str) -> int:
    """SMS segments, as `channels.segments` counts them, without looking at each character where none costs more."""
    if not _ONE_SEPTET_EACH.fullmatch(text):
        return count_segments(text)
    length = len(text)
    return -(-length // _PART) if length > _ALONE else min(length, 1)

"""JSON as the log and the outbox hold it."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic_core import to_json


def as_json(value: Any) -> bytes:
    """Compact UTF-8.

    What the fast writer refuses, such as a key that is a member of an enum, is written in the same form by pydantic's,
    which takes three times as long.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return to_json(value)

"""A notification as people write it, in options or in the columns of a table: dotted names of the contract's fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Columns of a table, and how options become fields.
COLUMNS = (
    "id",
    "to",
    "region",
    "content.text",
    "content.media",
    "content.template.name",
    "content.template.language",
    "content.template.content_sid",
    "category",
    "channel",
    "send_at",
    "expires_at",
    "timezone",
    "on_unknown",
)
#: Below these, names are free.
FREE = ("content.template.variables", "metadata")


def is_column(name: str) -> bool:
    """Whether a notification has such a field."""
    return name in COLUMNS or any(name.startswith(f"{prefix}.") and name != f"{prefix}." for prefix in FREE)


def nested(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """`content.text` and its like become objects in objects."""
    document: dict[str, Any] = {}
    for name, value in fields:
        *parents, last = _path(name)
        where = document
        for parent in parents:
            where = where.setdefault(parent, {})
        where[last] = value
    return document


def _path(name: str) -> list[str]:
    """The free part of a name is one name, dots and all."""
    for prefix in FREE:
        if name.startswith(f"{prefix}."):
            return [*prefix.split("."), name[len(prefix) + 1 :]]
    return name.split(".")


def from_cells(cells: Mapping[str, str]) -> dict[str, Any]:
    """One row of a table; an empty cell is a field that is not there, and media are separated by `|`."""
    return nested((name, _value(name, cell)) for name, cell in cells.items() if cell.strip())


def _value(name: str, cell: str) -> str | list[str]:
    if name == "content.media":
        return [url.strip() for url in cell.split("|") if url.strip()]
    return cell

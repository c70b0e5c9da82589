"""Personal data as it is shown until somebody asks for it: enough to recognise, too little to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DOTS = "•••"
_SHOWN_FIRST, _SHOWN_LAST = 4, 2
#: Fields of a notification that hold what is said, and to whom.
_CONTENT = "content"


def masked(address: str | None) -> str:
    """`+12025550123` as `+120•••23`; the scheme of a user id stays."""
    if not address:
        return "—"
    scheme, colon, rest = address.rpartition(":")
    if len(rest) <= _SHOWN_FIRST + _SHOWN_LAST:
        return f"{scheme}{colon}{_DOTS}"
    return f"{scheme}{colon}{rest[:_SHOWN_FIRST]}{_DOTS}{rest[-_SHOWN_LAST:]}"


def shown(address: str | None, *, revealed: bool) -> str:
    """Whole where it was asked for."""
    return (address or "—") if revealed else masked(address)


def content_summary(notification: Mapping[str, Any]) -> str:
    """What kind of thing is said, and not what."""
    content = notification.get(_CONTENT)
    if not isinstance(content, Mapping):
        return "no content that can be read"
    parts = []
    if isinstance(text := content.get("text"), str) and text:
        parts.append(f"a text of {len(text)} characters")
    if isinstance(media := content.get("media"), list) and media:
        parts.append(f"{len(media)} media")
    if isinstance(template := content.get("template"), Mapping):
        parts.append(f"the template {template.get('name') or template.get('content_sid')}")
    return " and ".join(parts) or "no content that can be read"

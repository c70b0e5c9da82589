"""What installed channels can express, as a table for people: `python -m channels.capabilities`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from channels.model import ChannelCapabilities
from channels.port import ChannelPlugin
from channels.registry import discover

_HEAD = ("channel", "provider", "reaches", "text", "media", "templates", "free-form", "read receipts")


def table(plugins: Iterable[ChannelPlugin]) -> str:
    """In Markdown, a row for each channel."""
    rows = [_HEAD, tuple("---" for _ in _HEAD), *map(_row, plugins)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(plugin: ChannelPlugin) -> tuple[str, ...]:
    can = plugin.capabilities
    return (
        f"`{plugin.name}`",
        plugin.provider,
        ", ".join(f"`{scheme}:`" for scheme in sorted(can.schemes)),
        f"{can.max_text} characters" if can.text else "no",
        _media(can),
        "yes" if can.template else "no",
        "in an open session" if can.needs_session else "always",
        "yes" if can.read_receipts else "no",
    )


def _media(can: ChannelCapabilities) -> str:
    if not can.max_media:
        return "no"
    where = f", to {' and '.join(sorted(can.media_countries))}" if can.media_countries else ""
    return f"{can.max_media} a message{where}"


if __name__ == "__main__":
    sys.stdout.write(table(discover().plugins))

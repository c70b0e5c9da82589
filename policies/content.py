"""What the recipient reads where the content is put together here: the policy measures it, the router sends it."""

from __future__ import annotations

from collections.abc import Sequence


def text_with_links(text: str | None, urls: Sequence[str]) -> str:
    """The body of the form `link`: the text, then each address on a line of its own."""
    return "\n".join([text, *urls] if text else urls)

"""What two publications under one id are compared by: equal for equal content, however it was written.

A fingerprint is stored for as long as the log, so its form is versioned, and form 1 was laid down as JSON of all that
differs from the defaults, sorted by name, as `json.dumps` writes it. It is made here by a shorter way.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from channels.model import Category
from router.encoding import as_json

if TYPE_CHECKING:
    from router.wire import Notification, TemplateContent


def fingerprint_of(notification: Notification) -> str:
    """Form 1."""
    said = _said(notification)
    canonical = as_json(said)
    if not canonical.isascii() or b"\x7f" in canonical:
        # `json.dumps` writes these characters as escapes.
        canonical = json.dumps(said, separators=(",", ":")).encode()
    return "1:" + hashlib.sha256(canonical).hexdigest()[:32]


def _said(notification: Notification) -> dict[str, Any]:
    """What the publisher said, without what is the default anyway, sorted by name.

    What is equal is written equally: one number in two spellings, one moment in two offsets.
    """
    category, content = notification.category, notification.content
    return _given(
        {
            "category": None if category is Category.TRANSACTIONAL else category,
            "channel": notification.channel,
            "content": _given(
                {
                    "media": content.media or None,
                    "template": _template(content.template) if content.template else None,
                    "text": content.text,
                }
            ),
            "expires_at": _moment(notification.expires_at),
            "id": notification.id,
            "metadata": dict(sorted(notification.metadata.items())) or None,
            "on_unknown": notification.on_unknown,
            "recipient": notification.recipient().address,
            "send_at": _moment(notification.send_at),
            "timezone": notification.timezone,
        }
    )


def _template(template: TemplateContent) -> dict[str, Any]:
    return _given(
        {
            "content_sid": template.content_sid,
            "language": template.language,
            "name": template.name,
            "variables": dict(sorted(template.variables.items())) or None,
        }
    )


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else str(moment.astimezone(UTC))

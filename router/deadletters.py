"""What needs a person: kept whole, with the reason, until somebody has dealt with it."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping

from pydantic_core import to_json

from channels.reasons import Reason
from router import subjects
from router.clock import Clock, rfc3339
from router.jetstream import MESSAGE_ID, JetStream

_NAMESPACE = uuid.UUID("0a1f6f0b-5b0f-5f52-8a39-2c1d7a3f9e44")


class DeadLetters:
    """The stream DEADLETTERS."""

    def __init__(self, js: JetStream, clock: Clock) -> None:
        self._js = js
        self._clock = clock

    async def keep(
        self,
        stage: str,
        source: str,
        *,
        sequence: int,
        subject: str,
        body: bytes,
        headers: Mapping[str, str],
        reason: Reason,
        message: str,
        notification_id: str | None = None,
        field: str | None = None,
    ) -> None:
        """Store the whole event once, however often its handling is repeated; `sequence` is where it came from."""
        identity = str(uuid.uuid5(_NAMESPACE, f"{stage}.{sequence}.{subject}.{reason}"))
        text, encoding = _as_text(body)
        event = {
            "dead_letter_id": identity,
            "stage": stage,
            "source": source,
            "notification_id": notification_id,
            "reason": reason,
            "message": message,
            "field": field,
            "subject": subject,
            "body": text,
            "body_encoding": encoding,
            "headers": dict(headers),
            "recorded_at": rfc3339(self._clock()),
        }
        headers_out = {MESSAGE_ID: identity, "content-type": "application/json"}
        await self._js.publish(subjects.dead_letter(stage, source), to_json(event), headers_out)


def _as_text(body: bytes) -> tuple[str, str]:
    try:
        return body.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"

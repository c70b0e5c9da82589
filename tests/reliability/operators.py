"""What operators ask a router over NATS."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.harness import Harness


async def ask(harness: Harness, what: str, request: dict[str, Any], within: float = 5) -> dict[str, Any]:
    """One of the services for dead letters: `list`, `show`, `replay`, `resolve`. An error answer is its body."""
    reply = await harness.client.request(f"pointsman.deadletters.{what}", json.dumps(request).encode(), timeout=within)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer

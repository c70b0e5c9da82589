"""Taking back, over NATS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.cancel import Cancel
from router.services.asking import BadRequestError, Endpoints, a_source, an_id


@dataclass(frozen=True, slots=True)
class CancelDesk:
    """`pointsman.cancel`."""

    cancel: Cancel

    def endpoints(self) -> Endpoints:
        """What it answers."""
        return {"cancel": self.take_back}

    async def take_back(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{source, id}`: `canceled` says whether it came in time."""
        source, identity = a_source(request), an_id(request)
        verdict = await self.cancel.take_back(source, identity)
        if verdict is None:
            raise BadRequestError(f"no notification {identity!r} of {source!r} is in the log (yet)", "id", 404)
        return {"source": source, "id": identity, "canceled": verdict.in_time, "because": verdict.because}

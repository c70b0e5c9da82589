"""Pauses that operators lay over the policy: thrown in one place, heard by every router of the deployment at once.

A switch is a key of the bucket `policy`. Routers hear of it by watching, so it takes no restart and no change
of the policy document, and a router that was away finds it when it comes back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from policies.document import Action
from policies.pauses import AGAIN, Kind, Pause
from router import topology
from router.buckets import Bucket
from router.clock import rfc3339
from router.jetstream import JetStream

PREFIX = "pause."


@dataclass(frozen=True, slots=True)
class Switch:
    """One thing that an operator stopped."""

    kind: Kind
    name: str
    at: datetime  #: when; aware
    action: Action = Action.SUPPRESS
    until: datetime | None = None  #: aware; None: until it is resumed
    again: float = AGAIN  #: seconds after which what it defers is asked again
    note: str = ""  #: why, for whoever asks

    @property
    def key(self) -> str:
        """Where it is kept."""
        return f"{PREFIX}{self.kind}.{self.name}"

    def as_dict(self) -> dict[str, Any]:
        """As it is stored and shown."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "at": rfc3339(self.at),
            "action": self.action.value,
            "until": rfc3339(self.until) if self.until else None,
            "again": self.again,
            "note": self.note,
        }

    def as_pause(self) -> Pause:
        """As decisions heed and explain it."""
        until = f" until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else ""
        note = f": {self.note}" if self.note else ""
        by = f"by an operator since {self.at:%Y-%m-%d %H:%M} UTC{until}{note}"
        return Pause(self.kind, self.name, by, self.action, self.until, self.again)


def read_switch(value: bytes) -> Switch:
    """From the bucket. Raises `ValueError` for what no version of ours wrote."""
    row: Mapping[str, Any] = json.loads(value)
    try:
        return Switch(
            kind=Kind(row["kind"]),
            name=str(row["name"]),
            at=datetime.fromisoformat(row["at"]),
            action=Action(row["action"]),
            until=datetime.fromisoformat(row["until"]) if row["until"] else None,
            again=float(row["again"]),
            note=str(row["note"]),
        )
    except (KeyError, TypeError) as exc:
        raise ValueError(f"no switch: {exc}") from None


class Switches:
    """Those of one deployment."""

    def __init__(self, js: JetStream, prefix: str) -> None:
        self._js = js
        self._bucket = Bucket(js, prefix + topology.POLICY)

    async def throw(self, switch: Switch) -> None:
        """Pause this from now on; a switch of the same thing is replaced."""
        await self._bucket.put(switch.key, json.dumps(switch.as_dict()).encode())

    async def lift(self, kind: Kind, name: str) -> bool:
        """Let it go again. False: no switch was there."""
        key = f"{PREFIX}{kind}.{name}"
        if await self._bucket.get(key) is None:
            return False
        await self._bucket.delete(key)
        return True

    async def all(self) -> list[Switch]:
        """Every one, by kind and name; those that have ended are among them until they are lifted."""
        stored = await self._js.last_of_each(self._bucket.stream, self._bucket.subject(f"{PREFIX}>"))
        switches = [read_switch(each.body) for each in stored if "KV-Operation" not in each.headers]
        return sorted(switches, key=lambda each: (each.kind, each.name))

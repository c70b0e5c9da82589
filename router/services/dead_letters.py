"""What needs a person, over NATS."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router import subjects
from router.archive import GoneError
from router.deadletters import DeadLetter, DeadLetters, State
from router.jetstream import JetStream
from router.replay import NotReplayableError, Replay
from router.services.asking import BadRequestError, Endpoints, a_source, a_text

#: So many fit into one answer; and so many events of one notification.
_LISTED, _EVENTS = 500, 100


@dataclass(frozen=True, slots=True)
class DeadLetterDesk:
    """`pointsman.deadletters.*`."""

    js: JetStream
    dead_letters: DeadLetters
    replayer: Replay

    def endpoints(self) -> Endpoints:
        """What it answers."""
        return {
            "deadletters.list": self.list,
            "deadletters.show": self.show,
            "deadletters.replay": self.replay,
            "deadletters.resolve": self.resolve,
        }

    async def list(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What needs a person: `{stage?, source?, state?, limit?, before?}`; what is open unless `state` says more.

        The newest, oldest of them first; `older` says how many more there are, which `before` with the first id gives.
        """
        stage = "*" if request.get("stage") is None else a_source(request, "stage")
        source = "*" if request.get("source") is None else a_source(request)
        state = _state(request.get("state", State.OPEN))
        limit, before = _limit(request.get("limit", _LISTED)), request.get("before")
        if before is not None and (not isinstance(before, str) or await self.dead_letters.find(before) is None):
            raise BadRequestError("no dead letter has this id", "before", 404)
        count, newest = 0, deque[dict[str, Any]](maxlen=limit)
        async for letter in self.dead_letters.each(stage, source, before):
            if state is None or letter.state is state:
                count += 1
                newest.append(letter.summary())
        return {"dead_letters": [*newest], "older": count - len(newest)}

    async def show(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{id}`: the whole of it, and the events of its notification, as far as that fits into one answer."""
        letter = await self._letter(request)
        source, identity = str(letter.event["source"]), letter.event["notification_id"]
        stored = []
        if identity is not None:
            stored = await self.js.history(subjects.DELIVERIES, subjects.story(source, str(identity)))
        return {**letter.shown(), "events": [json.loads(each.body) for each in stored[-_EVENTS:]]}

    async def replay(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{id, note?}`: give it back to the router."""
        letter = await self._letter(request)
        try:
            return {"id": request["id"], "done": await self.replayer.replay(letter, a_text(request, "note"))}
        except (NotReplayableError, GoneError) as exc:
            raise BadRequestError(str(exc), "id", 409) from None

    async def resolve(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{id, outcome?, note?}`: it has been dealt with."""
        letter = await self._letter(request)
        outcome = request.get("outcome")
        try:
            done = await self.replayer.resolve(
                letter, outcome if isinstance(outcome, str) else None, a_text(request, "note")
            )
        except (NotReplayableError, GoneError) as exc:
            raise BadRequestError(str(exc), "outcome", 409) from None
        return {"id": request["id"], "done": done}

    async def _letter(self, request: Mapping[str, Any]) -> DeadLetter:
        identity = request.get("id")
        letter = await self.dead_letters.find(identity) if isinstance(identity, str) else None
        if letter is None:
            raise BadRequestError("no dead letter has this id; list them with pointsman.deadletters.list", "id", 404)
        return letter


def _limit(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LISTED:
        raise BadRequestError(f"must be a number from 1 to {_LISTED}", "limit")
    return value


def _state(value: object) -> State | None:
    if value == "all":
        return None
    try:
        return State(str(value))
    except ValueError:
        raise BadRequestError("must be open, replayed, resolved or all", "state") from None

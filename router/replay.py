"""What a person does about a dead letter: give it back to the router, or say how it ended.

A replay goes through the same claims as everything else, so replaying twice sends once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from channels.errors import SendError
from router import subjects, topology
from router.caps import Returns
from router.crashpoints import CrashPoint, reached
from router.deadletters import CONSUMER, DeadLetter, DeadLetters, State
from router.follow_up import FollowUp
from router.intake import Intake
from router.jetstream import JetStream
from router.outbox import ATTEMPT
from router.owners import MISCOUNTED, OPEN, Owner
from router.received import Received
from router.reconcile import UNKNOWN, Reconcile
from router.stuck import STAGE as STUCK
from router.stuck import Stuck
from router.wire import InvalidNotificationError, parse_notification


class NotReplayableError(Exception):
    """It cannot be done; the message says why and what to do instead."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Acts on dead letters."""

    js: JetStream
    dead_letters: DeadLetters
    intake: Intake
    follow_up: FollowUp
    reconcile: Reconcile
    stuck: Stuck
    returns: Returns

    async def replay(self, letter: DeadLetter, note: str | None) -> str:
        """Give it back; returns what was done, in a sentence."""
        if letter.state is State.RESOLVED:
            raise NotReplayableError("it was resolved by hand; publish a new notification instead")
        done = await self._again(letter)
        reached(CrashPoint.REPLAY_DONE)
        await self.dead_letters.mark(str(letter.event["dead_letter_id"]), State.REPLAYED, note)
        return done

    async def resolve(self, letter: DeadLetter, outcome: str | None, note: str | None) -> str:
        """Close it; for a held or stuck attempt `outcome` says whether the message was sent ("sent", "not_sent")."""
        done = "closed"
        if letter.event["stage"] in {"reconcile", STUCK}:
            done = await self._resolve_held(letter, outcome)
        await self.dead_letters.mark(str(letter.event["dead_letter_id"]), State.RESOLVED, note)
        return done

    async def _again(self, letter: DeadLetter) -> str:
        subject, body = str(letter.event["subject"]), await self._whole_body(letter)
        match subject.partition(".")[0]:
            case "notifications":
                _check_readable(body)
                sequence = int(letter.event["sequence"])
                headers = letter.event["headers"]
                await self.intake.take(Received(subject, sequence, body, headers, redelivered=True))
                return "read again; see the delivery events for what came of it"
            case "deliveries":
                return await self._handled(letter, body)
            case "outbox" if letter.event["stage"] == MISCOUNTED:
                raise NotReplayableError("its story has ended; publish it under a new id")
            case "outbox" if letter.event["stage"] == "reconcile":
                if await self.reconcile.as_not_sent(_held(letter), again=True):
                    return "sent again as a new attempt"
                return "nothing to do: its outcome is known by now"
            case "outbox" | "wake":
                headers = {
                    name: value
                    for name, value in letter.event["headers"].items()
                    if not name.startswith("Nats-") and name != CONSUMER
                }
                await self.js.publish(subject, body, headers)
                return "put back into its queue"
            case _:
                raise NotReplayableError(f"nothing is known about replaying {subject!r}; resolve it by hand")

    async def _handled(self, letter: DeadLetter, body: bytes) -> str:
        """By whoever did not get it done: the log has several readers."""
        headers = letter.event["headers"]
        match headers.get(CONSUMER, letter.event["stage"]):
            case topology.FOLLOW_UP:
                await self.follow_up.on_event(body)
                return "followed up again"
            case topology.STUCK:
                return await self._ask_again(_held(letter))
            case topology.RETURNS:
                await self.returns.on_event(body, headers)
                return "looked at again for a place under a cap to give back"
            case reader:
                raise NotReplayableError(f"{reader!r} is no reader of the router's: it finds the event in DELIVERIES")

    async def _whole_body(self, letter: DeadLetter) -> bytes:
        """Of what was too large to be repeated in a dead letter only the beginning stands there."""
        if not letter.event["truncated"]:
            return letter.body
        stream = subjects.stream_of(str(letter.event["subject"]))
        stored = await self.js.at(stream, int(letter.event["sequence"])) if stream else None
        if stored is None:
            raise NotReplayableError("it was too large to be kept whole, and is gone from where it stood")
        return stored.body

    async def _ask_again(self, owner: Owner) -> str:
        try:
            return await self.stuck.ask_again(*owner)
        except SendError as exc:
            raise NotReplayableError(
                f"the provider still does not tell ({exc.message}); look there and resolve it by hand"
            ) from None

    async def _resolve_held(self, letter: DeadLetter, outcome: str | None) -> str:
        waiting = OPEN if letter.event["stage"] == STUCK else UNKNOWN
        match outcome:
            case "sent":
                changed = await self.reconcile.as_sent(_held(letter), waiting)
            case "not_sent":
                changed = await self.reconcile.as_not_sent(_held(letter), waiting)
            case _:
                raise NotReplayableError("say whether it was sent: outcome must be 'sent' or 'not_sent'")
        return "recorded" if changed else "nothing to do: its outcome is known by now"


def _held(letter: DeadLetter) -> Owner:
    """The attempt that it is about."""
    event = letter.event
    number = event["headers"].get(ATTEMPT) or json.loads(letter.body)["attempt"]
    return Owner(str(event["source"]), str(event["notification_id"]), int(number))


def _check_readable(body: bytes) -> None:
    """A malformed notification stays malformed: its publisher has to mend it."""
    try:
        parse_notification(body)
    except InvalidNotificationError as exc:
        raise NotReplayableError(f"it is as malformed as before ({exc.message}); publish it mended") from None

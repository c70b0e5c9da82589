"""What happens when a schedule fires."""

from __future__ import annotations

from dataclasses import dataclass

from nats.aio.msg import Msg

from router.crashpoints import CrashPoint, reached
from router.intake import Intake
from router.outbox import ATTEMPT, Outbox, read_item
from router.received import woken
from router.reconcile import Reconcile
from router.silence import Silence
from router.timers import Kind


@dataclass(frozen=True, slots=True)
class Waking:
    """Sends what wakes to where it goes on."""

    intake: Intake
    outbox: Outbox
    reconcile: Reconcile
    silence: Silence

    async def on_message(self, msg: Msg) -> None:
        """`wake.<kind>.<source>.<id>`."""
        reached(CrashPoint.WAKE_TAKEN)
        _, kind, source, notification_id = msg.subject.split(".")
        headers = msg.headers or {}
        match Kind(kind):
            case Kind.DEFER:
                await self.intake.take(woken(msg.data, headers))
            case Kind.RETRY:
                await self.outbox.put(read_item(source, notification_id, headers, msg.data))
            case Kind.RECONCILE:
                await self.reconcile.look(source, notification_id, int(headers[ATTEMPT]))
            case Kind.SILENCE:
                await self.silence.look(source, notification_id)
            case Kind.STUCK:
                raise AssertionError("it has a consumer of its own: a slow provider holds up nothing else")

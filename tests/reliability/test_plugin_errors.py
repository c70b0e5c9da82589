"""What a plugin raises, whatever it is, leads somewhere: no notification is left without an end."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from channels.errors import (
    MessageInvalidError,
    OutcomeUnknownError,
    ProviderThrottledError,
    RecipientUnreachableError,
    SendError,
)
from channels.model import SMS
from router.follow_up import UndecidedError
from router.outbox import read_item
from router.received import Received
from tests.reliability.world import World

BODY = json.dumps({"id": "n-1", "to": "+12025550143", "content": {"text": "hi"}}).encode()


class PlainError(SendError):
    """Directly below the root, which says nothing."""

    error_class = "acme_plain"


class MailboxFullError(ProviderThrottledError):
    error_class = "acme_mailbox_full"


class NoSuchMailboxError(RecipientUnreachableError):
    error_class = "acme_no_such_mailbox"


class TooFancyError(MessageInvalidError):
    error_class = "acme_too_fancy"


class TimedOutError(OutcomeUnknownError):
    error_class = "acme_timed_out"


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def _attempt(world: World, error: SendError) -> None:
    """One attempt at which the plugin raises this."""
    world.channels[SMS].outcomes.append(error)
    process = world.processes[0]
    sequence = world.seed(BODY)
    world.begin(process, process.intake.take(Received("notifications.normal.shop", sequence, BODY, {})))
    world.pass_all()
    (queued,) = world.store.stream("OUTBOX")
    world.begin(process, process.attempts.make(read_item("shop", "n-1", queued.headers, queued.body)))
    world.pass_all()


@pytest.mark.parametrize(
    ("error", "status", "named", "follows"),
    [
        (SendError("no"), "unknown", "outcome_unknown", "timers.reconcile.shop.n-1"),
        (PlainError("no"), "unknown", "outcome_unknown", "timers.reconcile.shop.n-1"),
        (TimedOutError("no"), "unknown", "acme_timed_out", "timers.reconcile.shop.n-1"),
        (MailboxFullError("no"), "failed", "acme_mailbox_full", "timers.retry.shop.n-1"),
        (NoSuchMailboxError("no"), "failed", "acme_no_such_mailbox", "exhausted"),
        (TooFancyError("no"), "failed", "acme_too_fancy", "exhausted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, SendError) else None,
)
def test_whatever_a_plugin_raises_leads_somewhere(
    world: World, error: SendError, status: str, named: str, follows: str
) -> None:
    _attempt(world, error)
    said = world.store.bodies("DELIVERIES")[-1]
    assert (said["status"], said["error"]["class"]) == (status, named)

    process = world.processes[0]
    world.begin(process, process.follow_up.on_event(world.store.stream("DELIVERIES")[-1].body))
    world.pass_all()

    left = [*(each.subject for each in world.store.stream("TIMERS")), world.store.bodies("DELIVERIES")[-1]["status"]]
    assert follows in left


def test_a_failure_after_which_nothing_was_decided_is_not_passed_over(world: World) -> None:
    """A fault of ours, if it ever happens: the message comes again, and in the end goes to a person."""
    _attempt(world, NoSuchMailboxError("no"))
    failed = world.store.stream("DELIVERIES")[-1]
    forgotten = failed.headers["Pointsman-Story"].replace("give_up@not_on_channel", "")
    assert forgotten != failed.headers["Pointsman-Story"]
    failed.headers["Pointsman-Story"] = forgotten  # type: ignore[index]  # an event always has headers

    process = world.processes[0]
    world.begin(process, process.follow_up.on_event(failed.body))
    with pytest.raises(UndecidedError, match="attempt 1 is failed"):
        world.pass_all()

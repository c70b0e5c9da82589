"""Status callbacks in every order that a provider may send them. Here the provider's own are lost and ours stand in."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from channels.testing import until
from channels.twilio.simulator import Faults, TwilioMessage
from tests.integration.conftest import Start
from tests.integration.harness import US, Harness

pytestmark = pytest.mark.nats

LOST = Faults(callbacks_lost=1)


@pytest.fixture
async def accepted(start: Start) -> tuple[Harness, TwilioMessage]:
    """A message that the provider has accepted and says nothing more about."""
    harness = await start(faults=LOST)
    await harness.publish("n-1")
    await harness.wait_for("n-1", "accepted")
    return harness, await harness.sent_to(US)


@pytest.mark.parametrize(
    ("reports", "recorded"),
    [
        pytest.param(["queued", "sent", "delivered"], ["queued", "sent", "delivered"], id="in order"),
        pytest.param(["delivered", "sent", "queued"], ["delivered"], id="backwards"),
        pytest.param(["sent", "sent", "delivered", "delivered", "sent"], ["sent", "delivered"], id="repeated"),
        pytest.param(["delivered", "failed", "undelivered"], ["delivered"], id="a failure after the arrival"),
        pytest.param(["undelivered", "delivered", "failed"], ["undelivered", "exhausted"], id="an arrival too late"),
        pytest.param(["read", "delivered", "sent"], ["read"], id="read overtakes"),
        pytest.param(["delivered", "read", "read"], ["delivered", "read"], id="read follows"),
        pytest.param(["canceled", "sent"], ["canceled"], id="taken back"),
        pytest.param(["sending", "scheduled"], ["queued"], id="words that mean the same to us"),
    ],
)
async def test_a_status_never_moves_backwards(
    accepted: tuple[Harness, TwilioMessage], reports: list[str], recorded: list[str]
) -> None:
    harness, message = accepted
    for status in reports:
        assert await harness.report(message, status) == 204

    await harness.idle()
    assert harness.statuses("n-1") == ["routed", "sending", "accepted", *recorded]


async def test_a_hundred_repetitions_at_once_are_one_event(accepted: tuple[Harness, TwilioMessage]) -> None:
    harness, message = accepted
    answers = await asyncio.gather(*(harness.report(message, "delivered") for _ in range(100)))

    assert set(answers) == {204}
    await harness.idle()
    assert harness.statuses("n-1").count("delivered") == 1


async def test_a_failure_says_why_and_ends_the_story(accepted: tuple[Harness, TwilioMessage]) -> None:
    harness, message = accepted
    await harness.report(message, "undelivered", ErrorCode="30005")

    undelivered = await harness.wait_for("n-1", "undelivered")
    assert (undelivered.body["reason"], undelivered.body["final"]) == ("not_on_channel", False)
    assert undelivered.body["error"]["code"] == 30005
    end = await harness.wait_for_final("n-1")
    assert (end.status, end.body["reason"], end.body["error"]) == (
        "exhausted",
        "not_on_channel",
        undelivered.body["error"],
    )


async def test_lost_callbacks_leave_the_story_open_and_nothing_is_sent_again(
    accepted: tuple[Harness, TwilioMessage],
) -> None:
    harness, _message = accepted
    await harness.idle()
    assert harness.statuses("n-1") == ["routed", "sending", "accepted"]
    assert len(harness.sent) == 1


async def test_a_callback_may_come_before_the_api_answers(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1, scripts={US: ("accept_no_answer",)}, hang_seconds=2))
    await harness.publish("n-1")
    message = await harness.sent_to(US)

    assert await harness.report(message, "sent") == 204
    await harness.wait_for("n-1", "sending")
    assert harness.statuses("n-1")[1:2] == ["sending"]
    await harness.report(message, "delivered")

    # The answer never comes, and what the callback revealed stands.
    await harness.idle()
    assert harness.statuses("n-1") == ["routed", "sending", "accepted", "sent", "delivered"]
    revealed = harness.story("n-1")[2].body
    assert (revealed["provider_message_id"], revealed["reason"]) == (message.sid, None)


async def test_a_callback_resolves_an_unknown_outcome(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1, scripts={US: ("accept_drop",)}))
    await harness.publish("n-1")
    await harness.wait_for("n-1", "unknown")
    message = await harness.sent_to(US)

    await harness.report(message, "delivered")

    await harness.wait_for_final("n-1")
    assert harness.statuses("n-1") == ["routed", "sending", "unknown", "accepted", "delivered"]
    resolved = harness.story("n-1")[3].body
    assert (resolved["provider_message_id"], resolved["reason"]) == (message.sid, "resolved_by_callback")


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("", id="no reference"),
        pytest.param("n=shop.n-1&a=1&t=0123456789abcdef01234567", id="wrong token"),
        pytest.param("n=shop.n-2&a=1&t={token}", id="another notification"),
        pytest.param("n=shop.n-1&a=2&t={token}", id="an attempt that was not made"),
        pytest.param("n=shop.n-1&a=x&t={token}", id="no number"),
    ],
)
async def test_a_signed_callback_that_names_no_attempt_of_ours_changes_nothing(
    accepted: tuple[Harness, TwilioMessage], query: str
) -> None:
    harness, message = accepted
    assert message.callback is not None
    token = urlsplit(message.callback).query.rpartition("t=")[2].partition("&")[0]
    url = f"{harness.public_url}/twilio/status?{query.format(token=token)}".rstrip("?")

    status, _ = await harness.post(url, {"MessageSid": message.sid, "MessageStatus": "delivered"})

    assert status == 204
    await harness.idle()
    assert harness.statuses("n-1") == ["routed", "sending", "accepted"]


async def test_a_callback_about_another_message_of_the_provider_changes_nothing(
    accepted: tuple[Harness, TwilioMessage],
) -> None:
    harness, message = accepted
    assert await harness.report(message, "delivered", MessageSid="SM" + "f" * 32) == 204

    await harness.idle()
    assert harness.statuses("n-1") == ["routed", "sending", "accepted"]


async def test_a_word_that_nobody_knows_changes_nothing(accepted: tuple[Harness, TwilioMessage]) -> None:
    harness, message = accepted
    assert await harness.report(message, "teleported") == 204
    assert await harness.report(message, "sent") == 204

    await until(lambda: harness.statuses("n-1") == ["routed", "sending", "accepted", "sent"])

"""What the router makes of a provider that refuses, is away, or says nothing: nothing lost, nothing sent twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from channels.testing import until
from channels.twilio.simulator import Faults
from tests.integration.conftest import Start
from tests.integration.harness import IN, INVALID, US, US_SENDER, WA_SENDER, WHATSAPP, Harness

pytestmark = pytest.mark.nats

TEMPLATE = {"name": "order_shipped", "variables": {"1": "Ada"}}


async def test_a_number_that_the_provider_refuses_exhausts_the_plan(harness: Harness) -> None:
    await harness.publish("n-1", INVALID)

    end = await harness.wait_for_final("n-1")
    assert harness.statuses("n-1") == ["routed", "sending", "failed", "exhausted"]
    failed = harness.story("n-1")[2].body
    assert (failed["reason"], failed["final"]) == ("not_on_channel", False)
    assert failed["error"] == {
        "class": "recipient_unreachable",
        "code": 21211,
        "message": "recipient's number is not valid",
    }
    assert (end.body["reason"], end.body["error"]) == ("not_on_channel", failed["error"])


async def test_a_refusal_for_an_opt_out_is_recorded_as_consent(harness: Harness) -> None:
    harness.simulator.set_opt_out(US_SENDER, US)
    await harness.publish("n-1")
    end = await harness.wait_for_final("n-1")
    assert harness.statuses("n-1") == ["routed", "sending", "failed", "exhausted"]
    assert (end.body["reason"], end.body["error"]["code"]) == ("opted_out", 21610)

    await harness.publish("n-2")

    assert (await harness.wait_for_final("n-2")).status == "suppressed"
    assert harness.statuses("n-2") == ["suppressed"]


async def test_a_throttled_send_is_tried_again_after_the_time_the_provider_asks_for(start: Start) -> None:
    harness = await start(faults=Faults(scripts={US: ("throttle",)}, retry_after=1))
    await harness.publish("n-1")

    await harness.wait_for("n-1", "delivered")
    assert harness.statuses("n-1") == ["routed", "sending", "failed", "sending", "accepted", "sent", "delivered"]
    story = harness.story("n-1")
    assert (story[2].body["reason"], story[2].body["error"]["code"]) == ("provider_throttled", 20429)
    assert [event.body["attempt"] for event in story] == [0, 1, 1, 2, 2, 2, 2]
    assert (_at(story[3].body) - _at(story[2].body)).total_seconds() >= 0.99
    assert len(harness.sent) == 1


async def test_a_throttled_sender_pauses_for_everyone(start: Start) -> None:
    harness = await start(faults=Faults(scripts={US: ("throttle",)}, retry_after=1))
    await harness.publish("n-1")
    refused = await harness.wait_for("n-1", "failed")

    await harness.publish("n-2", "+12025550199")
    await harness.publish("n-3", "+12025550198")

    await harness.wait_for("n-2", "delivered")
    await harness.wait_for("n-3", "delivered")
    for notification_id in ("n-2", "n-3"):
        claimed = await harness.wait_for(notification_id, "sending")
        assert (_at(claimed.body) - _at(refused.body)).total_seconds() >= 0.9


async def test_a_provider_that_is_not_there_is_tried_again_until_it_is(start: Start) -> None:
    harness = await start(retry={"attempts": 50})
    port = urlsplit(harness.simulator.base_url).port
    assert port is not None
    await harness.simulator.stop()
    await harness.publish("n-1")
    failed = await harness.wait_for("n-1", "failed")
    assert (failed.body["reason"], failed.body["final"]) == ("provider_unavailable", False)

    await harness.simulator.start(port=port)

    await harness.wait_for("n-1", "delivered")
    assert len(harness.sent) == 1


async def test_retries_come_to_an_end(start: Start) -> None:
    harness = await start(
        faults=Faults(scripts={US: ("throttle",) * 9}, retry_after=1),
        retry={"attempts": 2, "base": 0.01, "cap": 0.02},
    )
    await harness.publish("n-1")

    end = await harness.wait_for_final("n-1")
    assert harness.statuses("n-1") == ["routed", *["sending", "failed"] * 2, "exhausted"]
    assert end.body["reason"] == "provider_throttled"


async def test_a_message_is_not_used_up_by_a_provider_that_is_away(start: Start) -> None:
    harness = await start(retry={"attempts": 2, "base": 0.01, "cap": 0.02})
    port = urlsplit(harness.simulator.base_url).port
    assert port is not None
    await harness.simulator.stop()
    await harness.publish("n-1")
    await until(lambda: harness.statuses("n-1").count("failed") > 5)
    assert not any(event.body["final"] for event in harness.story("n-1"))

    await harness.simulator.start(port=port)

    end = await harness.wait_for_final("n-1")
    assert end.status == "delivered"
    assert [event.body["attempt"] for event in harness.story("n-1") if event.status == "accepted"] == [
        harness.statuses("n-1").count("sending")
    ]
    assert len(harness.sent) == 1


@pytest.mark.parametrize("pause", [0.01, 1.0])
async def test_a_message_waits_for_a_provider_until_it_expires(start: Start, pause: float) -> None:
    harness = await start(
        retry={"attempts": 2, "base": pause, "cap": pause}, environ={"TWILIO_API_BASE_URL": "http://127.0.0.1:1"}
    )
    expires_at = datetime.now(UTC) + timedelta(seconds=5)
    await harness.publish("n-1", expires_at=expires_at.isoformat())

    end = await harness.wait_for_final("n-1")
    assert (end.status, end.body["reason"]) == ("expired", "expired")
    assert harness.statuses("n-1").count("sending") > 2


@pytest.mark.parametrize(
    ("fault", "accepted"),
    [("error_before", 0), ("drop_before", 0), ("error_after", 1), ("accept_drop", 1), ("accept_no_answer", 1)],
)
async def test_an_outcome_that_nobody_knows_is_unknown_and_not_sent_again(
    start: Start, fault: str, accepted: int
) -> None:
    faults = Faults(callbacks_lost=1, scripts={US: (fault,)}, hang_seconds=20)
    harness = await start(faults=faults, dispatch={"timeout": 1})
    await harness.publish("n-1")

    unknown = await harness.wait_for("n-1", "unknown")
    assert (unknown.body["reason"], unknown.body["final"], unknown.body["error"]["class"]) == (
        "outcome_unknown",
        False,
        "outcome_unknown",
    )
    await harness.idle()
    assert harness.statuses("n-1") == ["routed", "sending", "unknown"]
    assert len(harness.sent) == accepted


async def test_a_lost_answer_is_made_up_for_by_the_providers_callbacks(start: Start) -> None:
    harness = await start(faults=Faults(scripts={US: ("error_after",)}))
    await harness.publish("n-1")

    await harness.wait_for("n-1", "delivered")
    await harness.idle()
    assert [status for status in harness.statuses("n-1") if status != "unknown"] == [
        "routed",
        "sending",
        "accepted",
        "sent",
        "delivered",
    ]
    assert len(harness.sent) == 1


async def test_wrong_credentials_are_named_and_what_waits_is_sent_once_they_are_right(start: Start) -> None:
    harness = await start(environ={"TWILIO_AUTH_TOKEN": "f" * 32}, retry={"attempts": 1, "base": 0.01, "cap": 0.02})
    await harness.publish("n-1")
    await harness.publish("n-2")

    failed = await harness.wait_for("n-1", "failed")
    assert (failed.body["reason"], failed.body["error"]["code"]) == ("channel_config", 20003)
    assert harness.sent == []
    await harness.stop_router(harness.routers[0])

    await harness.start_router()

    assert {(await harness.wait_for_final(name)).status for name in ("n-1", "n-2")} == {"delivered"}


async def test_a_recipient_who_is_not_on_whatsapp_gets_the_next_step(start: Start) -> None:
    harness = await start(faults=Faults(outcomes={WHATSAPP + IN: "undelivered:63024"}))
    await harness.publish("n-1", IN, content={"text": "hi", "template": TEMPLATE})

    await harness.wait_for("n-1", "delivered")
    story = harness.story("n-1")
    assert [(event.status, event.body["channel"], event.body["attempt"]) for event in story] == [
        ("routed", "whatsapp", 0),
        ("sending", "whatsapp", 1),
        ("accepted", "whatsapp", 1),
        ("sent", "whatsapp", 1),
        ("undelivered", "whatsapp", 1),
        ("sending", "sms", 2),
        ("accepted", "sms", 2),
        ("sent", "sms", 2),
        ("delivered", "sms", 2),
    ]
    assert [message.to for message in harness.sent] == [WHATSAPP + IN, IN]


async def test_a_reported_failure_is_not_waited_out_beyond_expiry_while_the_next_step_has_time(start: Start) -> None:
    long = {"base": 1e6, "cap": 1e6}  # a draw below a minute is as good as impossible
    harness = await start(faults=Faults(outcomes={WHATSAPP + IN: "undelivered:63010"}), retry=long)
    expires_at = datetime.now(UTC) + timedelta(minutes=1)
    content = {"text": "hi", "template": TEMPLATE}
    await harness.publish("n-1", IN, content=content, expires_at=expires_at.isoformat())

    end = await harness.wait_for_final("n-1")
    assert (end.status, end.body["channel"]) == ("delivered", "sms")


async def test_a_window_that_the_provider_finds_closed_leads_to_the_next_step(harness: Harness) -> None:
    await harness.receive(WHATSAPP + IN, WHATSAPP + WA_SENDER, "hi")
    harness.simulator.set_session(WHATSAPP + WA_SENDER, WHATSAPP + IN, is_open=False)
    await harness.publish("n-1", IN)

    await harness.wait_for("n-1", "delivered")
    failed = next(event for event in harness.story("n-1") if event.status in {"failed", "undelivered"})
    assert (failed.body["reason"], failed.body["error"]["code"]) == ("session_closed", 63016)
    assert harness.sent[-1].to == IN


async def test_nothing_private_stands_in_an_error(start: Start) -> None:
    harness = await start(faults=Faults(outcomes={US: "refuse:30007"}))
    await harness.publish("n-1", content={"text": "the secret word"})

    end = await harness.wait_for_final("n-1")
    assert "secret" not in str(end.body["error"])
    assert US not in str(end.body["error"])
    await until(lambda: harness.statuses("n-1")[-1] == "exhausted")


def _at(body: dict[str, str]) -> datetime:
    return datetime.fromisoformat(body["occurred_at"])

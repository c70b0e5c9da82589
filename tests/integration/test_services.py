"""What services ask by request and reply."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nats.aio.msg import Msg

from channels.testing import until
from channels.twilio.simulator import Faults
from tests.integration.conftest import Start
from tests.integration.harness import IN, US, US_SENDER, WA_SENDER, WHATSAPP, Harness

pytestmark = pytest.mark.nats

#: A sender whose queue does not empty while a test looks at it.
SLOW = [{"name": "us", "kind": "10dlc", "channels": ["sms"], "from": US_SENDER, "rate": 1}]
#: So long do messages stay where the test wants to find them.
LONG = 60.0
PROOF = "agreed on the form of 1 March"
#: Service, request, code of the answer and the field that it names.
REFUSED: list[tuple[str, object, int, str | None]] = [
    ("explain", {"id": "n-1", "to": "12", "content": {"text": "hi"}}, 400, "to"),
    ("explain", {"id": "n-1", "to": US, "content": {}}, 400, "content"),
    ("explain", {"notification": {}, "lane": "fast"}, 400, "lane"),
    ("explain", {"id": "n-1", "to": US, "content": {"text": "hi"}, "channel": "fax"}, 400, "channel"),
    ("explain", b"{", 400, None),
    ("explain", b"[]", 400, None),
    ("trace", {"source": "SHOP", "id": "n-1"}, 400, "source"),
    ("trace", {"source": "shop"}, 400, "id"),
    ("trace", {"source": "shop", "id": "nobody"}, 404, "id"),
    ("cancel", {"id": "n-1"}, 400, "source"),
    ("cancel", {"source": "shop", "id": "a.b"}, 400, "id"),
    ("cancel", {"source": "shop", "id": "nobody"}, 404, "id"),
    ("consent.get", {}, 400, "recipient"),
    ("consent.get", {"recipient": "12"}, 400, "recipient"),
    ("consent.get", {"recipient": US, "region": 1}, 400, "recipient"),
    ("consent.set", {"recipient": US, "state": "maybe", "proof": PROOF}, 400, "state"),
    ("consent.set", {"recipient": US, "state": "opted_out"}, 400, "proof"),
    ("consent.set", {"recipient": US, "state": "opted_in", "proof": " " * 1001}, 400, "proof"),
    ("consent.set", {"recipient": US, "state": "opted_in", "proof": PROOF, "scope": "sms"}, 400, "scope"),
    ("consent.set", {"recipient": US, "state": "opted_in", "proof": PROOF, "scope": "channel:fax"}, 400, "scope"),
    ("consent.set", {"recipient": US, "state": "opted_in", "proof": PROOF, "scope": ["all"]}, 400, "scope"),
    ("consent.set", {"recipient": US, "state": "opted_in", "proof": PROOF, "at": "today"}, 400, "at"),
    ("consent.set", {"recipient": US, "state": "opted_in", "proof": PROOF, "at": "2026-01-01T00:00"}, 400, "at"),
    ("consent.set", {"recipient": US, "state": "opted_in", "proof": PROOF, "at": "2999-01-01T00:00Z"}, 400, "at"),
    ("consent.get", {"recipient": US, "at": "2999-01-01T00:00:00Z"}, 400, "at"),
    ("consent.import", {}, 400, "statements"),
    ("consent.import", {"statements": []}, 400, "statements"),
    ("consent.import", {"statements": [{}] * 501}, 400, "statements"),
    ("consent.export", {"after": "x"}, 400, "after"),
    ("consent.export", {"after": -1}, 400, "after"),
    ("session.get", {"recipient": IN}, 400, "sender"),
    ("session.get", {"sender": "us", "recipient": IN}, 400, "sender"),
    ("session.get", {"sender": "wa", "recipient": None}, 400, "recipient"),
    ("session.touch", {"sender": "wa"}, 400, "recipient"),
    ("session.touch", {"sender": "wa", "recipient": IN, "at": 5}, 400, "at"),
    ("session.touch", {"sender": "wa", "recipient": IN, "at": "2999-01-01T00:00:00Z"}, 400, "at"),
    ("reach.get", {"recipient": "12"}, 400, "recipient"),
    ("reach.forget", {"recipient": US}, 400, "channel"),
    ("reach.forget", {"recipient": US, "channel": "fax"}, 400, "channel"),
    ("deadletters.list", {"state": "lost"}, 400, "state"),
    ("deadletters.list", {"stage": "in take"}, 400, "stage"),
    ("deadletters.list", {"source": "*"}, 400, "source"),
    ("deadletters.show", {"id": 7}, 404, "id"),
    ("deadletters.replay", {"id": "nobody"}, 404, "id"),
    ("deadletters.resolve", {}, 404, "id"),
]


async def _ask(harness: Harness, name: str, request: object) -> tuple[dict[str, Any], Msg]:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    msg = await harness.client.request(f"pointsman.{name}", body, timeout=30)
    return json.loads(msg.data), msg


async def _told(harness: Harness, name: str, **request: Any) -> dict[str, Any]:
    """The answer to what can be answered."""
    answer, msg = await _ask(harness, name, request)
    assert "Nats-Service-Error" not in (msg.headers or {}), answer
    return answer


async def _cancel(harness: Harness, notification_id: str) -> tuple[bool, str]:
    """Whether it came in time, and why."""
    answer = await _told(harness, "cancel", source="shop", id=notification_id)
    assert (answer["source"], answer["id"]) == ("shop", notification_id)
    return answer["canceled"], answer["because"]


async def _plan(harness: Harness, to: str, **fields: Any) -> list[str]:
    """The channels that would be tried now."""
    decision = await _told(harness, "explain", id="n-0", to=to, **{"content": {"text": "hi"}, **fields})
    return [step["channel"] for step in decision["plan"]]


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_explain_answers_with_the_decision_that_intake_would_make(harness: Harness) -> None:
    notification = {"id": "n-1", "to": IN, "content": {"text": "hi"}}
    before, _ = await _ask(harness, "explain", notification)
    await harness.receive(WHATSAPP + IN, WHATSAPP + WA_SENDER, "hi")
    after, _ = await _ask(harness, "explain", {"notification": notification, "lane": "urgent", "source": "shop"})
    await harness.publish("n-1", IN, content={"text": "hi"})
    routed = await harness.wait_for("n-1", "routed")

    assert [step["channel"] for step in before["plan"]] == ["sms"]
    assert [step["channel"] for step in after["plan"]] == ["whatsapp", "sms"]
    assert routed.body["decision"]["plan"] == after["plan"]
    assert routed.body["decision"]["trace"] == after["trace"]


async def test_explain_sends_and_stores_nothing(harness: Harness) -> None:
    await _ask(harness, "explain", {"id": "n-1", "to": US, "content": {"text": "hi"}})

    await harness.idle()
    assert harness.sent == []
    assert harness.deliveries == []


async def test_an_error_answer_names_the_field(harness: Harness) -> None:
    for name, request, code, field in REFUSED:
        answer, msg = await _ask(harness, name, request)

        headers, case = msg.headers or {}, f"{name} {request!r}"
        assert headers["Nats-Service-Error-Code"] == str(code), case
        assert headers["Nats-Service-Error"] == answer["error"]["message"] != "", case
        assert (answer["error"]["code"], answer["error"]["field"]) == (code, field), case
        assert answer.keys() == {"error"}, case
        assert US not in msg.data.decode(), case
    assert harness.deliveries == []


async def test_trace_tells_the_whole_story_in_order(harness: Harness) -> None:
    await harness.publish("n-1")
    await harness.wait_for("n-1", "delivered")

    answer, _ = await _ask(harness, "trace", {"source": "shop", "id": "n-1"})

    assert answer["events"] == [event.body for event in harness.story("n-1")]


async def test_a_deferred_notification_is_taken_back_and_does_not_wake(harness: Harness) -> None:
    await harness.publish("n-1", send_at=_in(3))
    await harness.publish("n-2", send_at=_in(3.5))
    await harness.wait_for("n-1", "deferred")

    assert await _cancel(harness, "n-1") == (True, "nothing of it was on its way")

    await harness.wait_for("n-2", "delivered")  # its time was later, so that of n-1 has come
    await harness.idle()
    assert harness.statuses("n-1") == ["deferred", "canceled"]
    end = harness.story("n-1")[-1].body
    assert (end["final"], end["reason"], end["attempt"], end["channel"]) == (True, "canceled", 0, "none")
    assert [message.body for message in harness.sent] == ["hello n-2"]


async def test_what_waits_for_its_sender_is_taken_back(start: Start) -> None:
    harness = await start(senders=SLOW)
    for number in range(1, 5):
        await harness.publish(f"n-{number}")
    await harness.wait_for("n-4", "routed")

    assert await _cancel(harness, "n-4") == (True, "nothing of it was on its way")

    await harness.wait_for("n-3", "delivered")
    await harness.idle()
    assert harness.statuses("n-4") == ["routed", "canceled"]
    end = harness.story("n-4")[-1].body
    assert (end["channel"], end["form"], end["sender"], end["attempt"]) == ("sms", "text", "us", 0)
    assert sorted(message.body for message in harness.sent) == ["hello n-1", "hello n-2", "hello n-3"]


async def test_a_cancellation_overtakes_what_its_owner_repeats(harness: Harness) -> None:
    """Published once more, a notification that was taken back stays taken back."""
    await harness.publish("n-1", send_at=(when := _in(30)))
    await harness.wait_for("n-1", "deferred")
    await _cancel(harness, "n-1")

    await harness.publish("n-1", send_at=when)

    await harness.idle()
    assert harness.statuses("n-1") == ["deferred", "canceled"]
    assert harness.sent == []


async def test_what_has_arrived_cannot_be_taken_back(harness: Harness) -> None:
    await harness.publish("n-1")
    await harness.wait_for("n-1", "delivered")
    before = harness.statuses("n-1")

    assert await _cancel(harness, "n-1") == (False, "it has ended already")

    await harness.idle()
    assert harness.statuses("n-1") == before


async def test_what_waits_at_the_provider_is_taken_back_there(start: Start) -> None:
    harness = await start(simulator={"rates": {US_SENDER: 1 / LONG}})
    for notification_id in ("n-1", "n-2"):
        await harness.publish(notification_id)
        await harness.wait_for(notification_id, "accepted")
    await harness.wait_for("n-1", "delivered")

    assert (await _cancel(harness, "n-2"))[0]
    assert await _cancel(harness, "n-2") == (True, "it was taken back")

    await harness.idle()
    assert harness.statuses("n-2") == ["routed", "sending", "accepted", "canceled"]
    end = harness.story("n-2")[-1].body
    assert (end["final"], end["reason"], end["attempt"]) == (True, "canceled", 1)
    assert end["provider_message_id"] == harness.sent[1].sid
    assert [message.status for message in harness.sent] == ["delivered", "canceled"]


async def test_what_the_provider_has_sent_cannot_be_taken_back(start: Start) -> None:
    harness = await start(faults=Faults(outcomes={US: "sent"}))
    await harness.publish("n-1")
    await harness.wait_for("n-1", "sent")

    assert await _cancel(harness, "n-1") == (False, "the provider has sent it")

    await harness.idle()
    assert harness.statuses("n-1") == ["routed", "sending", "accepted", "sent"]


async def test_what_nobody_can_say_is_not_taken_back(start: Start) -> None:
    harness = await start(faults=Faults(scripts={US: ("drop_before",)}), reconcile={"wait": LONG, "settle": LONG})
    await harness.publish("n-1")
    await harness.wait_for("n-1", "unknown")

    assert await _cancel(harness, "n-1") == (False, "it is being sent, or nobody can say whether it was")


@pytest.mark.parametrize("routers", [1, 2])
async def test_a_race_with_the_sending_has_one_winner(start: Start, routers: int) -> None:
    """Either it is canceled and never sent, or it is sent and the answer says that it was too late."""
    harness = await start()
    for _ in range(routers - 1):
        await harness.start_router()
    ids = [f"n-{number}" for number in range(24)]

    async def publish_and_cancel(notification_id: str) -> bool:
        await harness.publish(notification_id)
        await until(lambda: bool(harness.story(notification_id)))
        return (await _cancel(harness, notification_id))[0]

    verdicts = await asyncio.gather(*map(publish_and_cancel, ids))
    for notification_id in ids:
        await harness.wait_for_final(notification_id)

    await harness.idle()
    sent = [message.body for message in harness.sent if message.status != "canceled"]
    assert sorted(sent) == sorted(f"hello {each}" for each, canceled in zip(ids, verdicts, strict=True) if not canceled)
    ends = [harness.story(each)[-1].status for each in ids]
    assert ends == ["canceled" if canceled else "delivered" for canceled in verdicts]


async def test_consent_is_recorded_with_its_proof_and_history(harness: Harness) -> None:
    nothing = await _told(harness, "consent.get", recipient=US)
    await _told(harness, "consent.set", recipient=US, state="opted_in", proof=PROOF, at="2026-03-01T10:00:00+01:00")
    set_ = await _told(
        harness, "consent.set", recipient="(202) 555-0123", region="US", state="opted_out", proof="by phone"
    )
    got = await _told(harness, "consent.get", recipient=US)

    assert nothing == {"recipient": US, "key": got["key"], "consent": [], "history": []}
    assert set_ == got
    first, last = got["history"]
    assert first.pop("recorded_at") is not None
    assert first == {
        "scope": "all",
        "state": "opted_in",
        "at": "2026-03-01T09:00:00.000Z",
        "via": "api",
        "proof": PROOF,
        "who": None,
        "how": None,
        "text": None,
        "holds": False,
    }
    assert (last["state"], last["proof"], last.pop("holds")) == ("opted_out", "by phone", True)
    assert got["consent"] == [last]


async def test_an_opt_out_suppresses_until_an_opt_in(harness: Harness) -> None:
    await _told(harness, "consent.set", recipient=US, state="opted_out", proof="wrote to us")
    await harness.publish("n-1")
    stopped = await harness.wait_for_final("n-1")
    await _told(harness, "consent.set", recipient=US, state="opted_in", proof="wrote to us again")
    await harness.publish("n-2")

    assert (stopped.status, stopped.body["reason"]) == ("suppressed", "opted_out")
    assert (await harness.wait_for_final("n-2")).status == "delivered"
    assert [message.body for message in harness.sent] == ["hello n-2"]


@pytest.mark.parametrize(
    ("scope", "stopped", "allowed"),
    [
        ("channel:sms", {"to": US}, {"to": US, "content": {"media": ["https://shop.example/a.png"]}}),
        ("sender:us", {"to": US}, {"to": IN}),
        ("category:marketing", {"to": US, "category": "marketing"}, {"to": US, "category": "otp"}),
    ],
)
async def test_an_opt_out_reaches_as_far_as_its_scope(
    harness: Harness, scope: str, stopped: dict[str, Any], allowed: dict[str, Any]
) -> None:
    before = [await _plan(harness, **stopped), await _plan(harness, **allowed)]
    for recipient in {US, allowed["to"]}:
        await _told(harness, "consent.set", recipient=recipient, scope=scope, state="opted_out", proof=PROOF)

    assert all(before)
    assert await _plan(harness, **stopped) == []
    assert await _plan(harness, **allowed) == [each for each in before[1] if f"channel:{each}" != scope]
    await _told(harness, "consent.set", recipient=US, scope=scope, state="opted_in", proof=PROOF)
    assert await _plan(harness, **stopped) == before[0]


async def test_a_session_heard_of_elsewhere_lets_free_form_text_go(harness: Harness) -> None:
    closed = await _told(harness, "session.get", sender="wa", recipient=IN)
    await harness.publish("n-1", IN, channel="whatsapp")
    refused = await harness.wait_for_final("n-1")
    harness.simulator.set_session(WHATSAPP + WA_SENDER, WHATSAPP + IN, is_open=True)
    opened = await _told(harness, "session.touch", sender="wa", recipient=IN)
    await harness.publish("n-2", IN, channel="whatsapp")

    assert closed == {"sender": "wa", "recipient": IN, "open": False, "expires_at": None}
    assert (refused.status, refused.body["reason"]) == ("rejected", "session_closed")
    assert opened == await _told(harness, "session.get", sender="wa", recipient=IN)
    assert opened["open"]
    left = datetime.fromisoformat(opened["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=50) < left < timedelta(hours=24)
    delivered = await harness.wait_for("n-2", "delivered")
    assert (delivered.body["channel"], delivered.body["form"]) == ("whatsapp", "text")


async def test_a_session_is_counted_from_when_the_recipient_wrote(harness: Harness) -> None:
    async def end_after(hours: float) -> str | None:
        end = await _told(harness, "session.touch", sender="wa", recipient=IN, at=_in(-3600 * hours))
        found: str | None = end["expires_at"]
        return found

    assert await end_after(25) is None
    early, late = await end_after(3), await end_after(2)
    assert early is not None
    assert late is not None
    assert early < late
    assert await end_after(3) == late, "an older message never shortens it"
    assert (await _told(harness, "session.get", sender="wa", recipient=US))["open"] is False


async def _held(start: Start) -> tuple[Harness, str]:
    """A router with one dead letter, an attempt of which nobody can say whether it was sent; its id."""
    faults = Faults(scripts={US: ("drop_before",)})
    harness = await start(faults=faults, reconcile={"wait": 0.2, "settle": 0.5})
    await harness.publish("n-1", on_unknown="hold")
    await until(lambda: len(harness.dead_letters) == 1)
    return harness, str(harness.dead_letters[0].body["dead_letter_id"])


async def test_a_held_attempt_is_listed_shown_and_sent_again_once(start: Start) -> None:
    harness, identity = await _held(start)

    (listed,) = (await _told(harness, "deadletters.list", source="shop"))["dead_letters"]
    shown = await _told(harness, "deadletters.show", id=identity)
    done = [(await _told(harness, "deadletters.replay", id=identity, note="never arrived"))["done"] for _ in range(2)]

    assert (listed["dead_letter_id"], listed["state"], listed["reason"]) == (identity, "open", "held")
    assert [event["status"] for event in shown["events"]] == ["routed", "sending", "unknown"]
    assert json.loads(shown["body"])["id"] == "n-1"
    assert done == ["sent again as a new attempt", "nothing to do: its outcome is known by now"]
    end = await harness.wait_for_final("n-1")
    assert (end.status, end.body["attempt"]) == ("delivered", 2)
    assert len(harness.sent) == 1
    after = await _told(harness, "deadletters.show", id=identity)
    assert (after["state"], after["note"]) == ("replayed", "never arrived")


@pytest.mark.parametrize(("outcome", "status"), [("sent", "sent"), ("not_sent", "exhausted")])
async def test_a_held_attempt_is_resolved_by_who_knows(start: Start, outcome: str, status: str) -> None:
    harness, identity = await _held(start)
    unsaid, _ = await _ask(harness, "deadletters.resolve", {"id": identity})

    await _told(harness, "deadletters.resolve", id=identity, outcome=outcome)

    assert (unsaid["error"]["code"], unsaid["error"]["field"]) == (409, "outcome")
    assert (await harness.wait_for_final("n-1")).status == status
    assert (await _told(harness, "deadletters.list"))["dead_letters"] == []
    again, _ = await _ask(harness, "deadletters.replay", {"id": identity})
    assert (again["error"]["code"], again["error"]["field"]) == (409, "id")
    assert harness.sent == []


async def test_what_could_not_be_read_is_listed_and_closed(harness: Harness) -> None:
    await harness.publish_raw("notifications.normal.shop", b"hello")
    await until(lambda: len(harness.dead_letters) == 1)
    (letter,) = (await _told(harness, "deadletters.list", stage="intake"))["dead_letters"]
    identity = letter["dead_letter_id"]

    replayed, _ = await _ask(harness, "deadletters.replay", {"id": identity})
    resolved = await _told(harness, "deadletters.resolve", id=identity, note="told its publisher")

    assert (letter["notification_id"], letter["reason"]) == (None, "unreadable")
    assert (replayed["error"]["code"], replayed["error"]["field"]) == (409, "id")
    assert resolved == {"id": identity, "done": "closed"}
    states = [await _told(harness, "deadletters.list", state=state) for state in ("open", "resolved", "all")]
    assert [len(each["dead_letters"]) for each in states] == [0, 1, 1]


async def test_an_answer_is_written_into_no_stream_and_a_lease_that_makes_no_sense_stops_nobody(
    harness: Harness,
) -> None:
    await harness.publish("n-1")
    await harness.wait_for("n-1", "delivered")
    before = (await harness.js.stream_info("DELIVERIES")).state.last_seq
    for reply in ("deliveries.crm.routed.none.c1", "$KV.senders.lease.uk", "pointsman.explain"):
        await harness.client.publish("pointsman.explain", b"{}", reply=reply)
    for key in ("lease.uk", "lease.us", "router.stranger"):
        await harness.js.publish(f"$KV.senders.{key}", b'{"error": {}}')
    await harness.client.request("pointsman.explain", b"{}", timeout=30)

    assert (await harness.js.stream_info("DELIVERIES")).state.last_seq == before
    await asyncio.sleep(1.2)  # in which every lease was renewed twice
    for n in range(3):
        await harness.publish(f"m-{n}", US if n else "+447700900123")
        await harness.wait_for(f"m-{n}", "delivered")

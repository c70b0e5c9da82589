"""What services ask by request and reply."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nats.aio.msg import Msg

from tests.integration.harness import IN, US, WA_SENDER, WHATSAPP, Harness

pytestmark = pytest.mark.nats


async def _ask(harness: Harness, name: str, request: object) -> tuple[dict[str, Any], Msg]:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    msg = await harness.client.request(f"pointsman.{name}", body, timeout=5)
    return json.loads(msg.data), msg


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


@pytest.mark.parametrize(
    ("name", "request_", "code", "field"),
    [
        ("explain", {"id": "n-1", "to": "12", "content": {"text": "hi"}}, "400", "to"),
        ("explain", b"{", "400", None),
        ("trace", {"source": "SHOP", "id": "n-1"}, "400", "source"),
        ("trace", {"source": "shop"}, "400", "id"),
        ("trace", {"source": "shop", "id": "nobody"}, "404", "id"),
    ],
)
async def test_an_error_answer_names_the_field(
    harness: Harness, name: str, request_: object, code: str, field: str | None
) -> None:
    answer, msg = await _ask(harness, name, request_)

    assert answer["error"]["field"] == field
    assert (msg.headers or {})["Nats-Service-Error-Code"] == code
    assert (msg.headers or {})["Nats-Service-Error"]


async def test_trace_tells_the_whole_story_in_order(harness: Harness) -> None:
    await harness.publish("n-1")
    await harness.wait_for("n-1", "delivered")

    answer, _ = await _ask(harness, "trace", {"source": "shop", "id": "n-1"})

    assert answer["events"] == [event.body for event in harness.story("n-1")]

"""Templates while a router runs: what the provider approves changes, variables are checked, a text stands for one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from channels.testing import PATIENCE, until
from channels.twilio.simulator import ContentTemplate, Faults
from router.approvals import kept_reports
from router.clock import utc_now
from router.jetstream import JetStream
from tests.integration.conftest import Start
from tests.integration.harness import IN, JM, US, Harness

pytestmark = pytest.mark.nats

EN, ES = "HX" + "0" * 31 + "1", "HX" + "0" * 31 + "2"
TEXT = {"en": "Your parcel {{1}} is on its way.", "es": "Su paquete {{1}} está en camino."}
OFTEN = {"template_refresh": 0.2}


def template(sid: str, language: str, **fields: Any) -> ContentTemplate:
    return ContentTemplate(sid=sid, language=language, text="{{1}}", variables={"1": "sample"}, **fields)


def both(**fields: Any) -> dict[str, Any]:
    return {"templates": (template(EN, "en", **fields), template(ES, "es"))}


def content(**changes: Any) -> dict[str, Any]:
    return {"content": {"template": {"name": "order_shipped", "variables": {"1": "AB-1"}, **changes}}}


async def learnt(harness: Harness, notification: dict[str, Any], because: str) -> None:
    """Until a decision about this says so; nothing is sent meanwhile."""

    async def said() -> str:
        reply = await harness.client.request(
            "pointsman.explain", json.dumps({"id": "x", "to": IN, **notification}).encode(), timeout=5
        )
        return reply.data.decode()

    started = utc_now()
    while because not in (answer := await said()):
        assert (utc_now() - started).total_seconds() < PATIENCE, answer


async def test_a_language_that_is_paused_counts_as_absent_until_it_is_approved_again(start: Start) -> None:
    templates = {"order_shipped": {"en": EN, "es": ES}}
    with capture_logs() as logs:
        harness = await start(simulator=both(), templates=templates, policy=OFTEN)
        await learnt(harness, content(), "template 'order_shipped' in en (the first in its fallback order)")

        harness.simulator.set_template(template(EN, "en", status="paused"))

        await learnt(harness, content(), "in es (the first in its fallback order; en is paused)")
        await harness.publish("n-1", IN, **content(language="en"))
        event = await harness.wait_for("n-1", "routed")
        assert event.body["decision"]["plan"][0]["content_sid"] == ES
    told = [row for row in logs if row["event"] == "templates.changed" and row["log_level"] == "warning"]
    assert [(row["template"], row["state"]) for row in told] == [("order_shipped (en)", "paused")]

    harness.simulator.set_template(template(EN, "en"))
    await learnt(harness, content(), "template 'order_shipped' in en (the first in its fallback order)")


async def test_approved_in_no_language_it_goes_as_text_by_sms(start: Start) -> None:
    templates = {"order_shipped": {"en": EN, "text": TEXT}}
    harness = await start(simulator=both(), templates=templates, policy=OFTEN)
    await harness.publish("n-1", IN, **content())
    plan = (await harness.wait_for("n-1", "routed")).body["decision"]["plan"]
    assert [(step["channel"], step["form"]) for step in plan] == [("whatsapp", "template"), ("sms", "text")]

    harness.simulator.set_template(template(EN, "en", status="rejected"))
    await learnt(harness, content(), "template 'order_shipped' is approved in no language (en is rejected)")
    await harness.publish("n-2", JM, **content())
    await harness.publish("n-3", US, **content(language="es", variables={"1": "{{1}} & Söhne"}))

    event = await harness.wait_for("n-2", "accepted")
    assert (event.body["channel"], event.body["form"]) == ("sms", "text")
    assert (await harness.sent_to(JM)).body == "Your parcel AB-1 is on its way."
    assert (await harness.sent_to(US)).body == "Su paquete {{1}} & Söhne está en camino."


async def test_a_variable_that_the_provider_declares_is_asked_for_by_name(start: Start) -> None:
    harness = await start(simulator=both(), templates={"order_shipped": {"en": EN}}, policy=OFTEN)
    await learnt(harness, content(variables={}), "content.template.variables.1 is missing")

    await harness.publish("n-1", IN, **content(variables={"2": "x"}))

    event = await harness.wait_for("n-1", "rejected")
    assert event.body["reason"] == "template_variables"
    assert harness.sent == []
    js = JetStream(harness.client, timeout=10)
    await js.start()
    assert {sid: report.variables for sid, report in (await kept_reports(js, "")).items()} == {EN: frozenset({"1"})}


async def test_while_nobody_can_be_asked_the_last_word_counts_and_without_one_it_is_approved(start: Start) -> None:
    down = Faults(reads=True, error_before=1)
    templates = {"order_shipped": {"en": EN}}
    with capture_logs() as logs:
        harness = await start(
            simulator=both(status="paused"), faults=Faults(reads=True, drop_before=1), templates=templates, policy=OFTEN
        )
        await until(lambda: any(row["event"] == "templates.not_read" for row in logs))
    (first, *_) = [row for row in logs if row["event"] == "templates.not_read"]
    assert first["taken_as_approved"] == ["order_shipped (en)"]
    await learnt(harness, content(), "template 'order_shipped' in en")

    harness.simulator.switch_faults(Faults())
    await learnt(harness, content(), "approved in no language (en is paused)")
    harness.simulator.switch_faults(down)
    for router in list(harness.routers):
        await harness.stop_router(router)
    await harness.start_router(templates=templates, policy=OFTEN)

    await learnt(harness, content(), "approved in no language (en is paused)")


async def test_whoever_never_asks_takes_every_template_to_be_approved(start: Start) -> None:
    never = {"template_refresh": 0}
    harness = await start(simulator=both(status="paused"), templates={"order_shipped": {"en": EN}}, policy=never)
    await learnt(harness, content(), "template 'order_shipped' in en")

"""Schemas say what the router does: what it reads passes, what it writes passes, what it refuses does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from channels.model import ProviderError
from policies.document import shipped
from policies.engine import compile_policy, decide
from policies.explain import decision_as_dict
from router import schemas
from router.events import Happening, body_of
from router.story import About
from router.wire import DeadLetterEvent
from tests.factories import NOW, a_request, a_world, facts

NOTIFICATION = {"id": "order-1", "to": "+12025550143", "content": {"text": "On its way."}}


def validator(name: str) -> Draft202012Validator:
    schema = schemas.json_schema(name)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", [channel.name for channel in schemas.CHANNELS])
def test_every_schema_is_draft_2020_12_with_an_id_and_a_title(name: str) -> None:
    schema = schemas.json_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:pointsman:schema:{name}"
    assert schema["title"]


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"content": {"media": ["https://example.com/a.png"]}}, True),
        ({"content": {"template": {"name": "order_shipped", "variables": {"name": "Ada"}}}}, True),
        ({"send_at": "2026-12-01T09:30:00Z", "category": "otp", "metadata": {"order": "1"}}, True),
        ({"chanel": "sms"}, False),
        ({"category": "urgent"}, False),
        ({"to": None}, False),
        ({"metadata": {"order": 1}}, False),
    ],
)
def test_a_notification_is_judged_as_the_router_judges_it(change: dict[str, Any], valid: bool) -> None:
    assert validator("notification").is_valid({**NOTIFICATION, **change}) is valid


@pytest.mark.parametrize(
    "happening",
    [
        Happening("routed", NOW, channel="sms", form="text", sender="us-main"),
        Happening("failed", NOW, final=True, attempt=1, error=ProviderError("recipient_unreachable", 21211, "Invalid")),
    ],
)
def test_delivery_events_fit_their_schema(happening: Happening) -> None:
    about = About("shop", "order-1", "normal", "transactional", "+12025550143", {"order": "1"})
    validator("delivery").validate(json.loads(body_of(about, happening, "event-1", NOW)))


def test_a_decision_fits_the_delivery_schema() -> None:
    decision = decision_as_dict(decide(a_request(), facts(), compile_policy(shipped(), a_world()), NOW))
    about = About("shop", "order-1", "normal", "transactional", "+12025550143", {})
    event = json.loads(body_of(about, Happening("routed", NOW, decision=decision), "event-1", NOW))
    validator("delivery").validate(event)


def test_inbound_messages_name_their_writer_as_the_contract_does() -> None:
    properties = schemas.json_schema("inbound")["properties"]
    assert "from" in properties
    assert "from_" not in properties


def test_a_subscriber_finds_every_field_of_an_event() -> None:
    schema = schemas.json_schema("deadletter")
    assert set(schema["required"]) == set(DeadLetterEvent.model_fields)


def test_asyncapi_says_who_sends_what_where() -> None:
    document = schemas.asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert {name: channel["address"] for name, channel in document["channels"].items()} == {
        "notifications": "notifications.{lane}.{source}",
        "deliveries": "deliveries.{source}.{status}.{channel}.{id}",
        "inbound": "inbound.{channel}.{sender}",
        "deadletters": "deadletters.{stage}.{source}",
    }
    assert {name: operation["action"] for name, operation in document["operations"].items()} == {
        "notifications": "receive",
        "deliveries": "send",
        "inbound": "send",
        "deadletters": "send",
    }


def test_asyncapi_explains_each_parameter_of_its_addresses() -> None:
    for channel in schemas.asyncapi()["channels"].values():
        tokens = channel["address"].split(".")[1:]
        assert [f"{{{name}}}" for name in channel["parameters"]] == tokens
        assert all(parameter["description"] for parameter in channel["parameters"].values())


def test_every_reference_of_asyncapi_leads_somewhere() -> None:
    document = schemas.asyncapi()
    references = list(_references(document))
    assert references
    for reference in references:
        where: Any = document
        for part in reference.removeprefix("#/").split("/"):
            where = where[part]
        assert where


def test_asyncapi_is_the_same_each_time() -> None:
    assert json.dumps(schemas.asyncapi()) == json.dumps(schemas.asyncapi())


def test_times_are_declared_as_times() -> None:
    assert schemas.json_schema("delivery")["properties"]["occurred_at"]["format"] == "date-time"


def _references(value: Any) -> Any:
    if isinstance(value, dict):
        if isinstance(target := value.get("$ref"), str):
            yield target
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)

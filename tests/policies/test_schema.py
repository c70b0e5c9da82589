"""The published schema says of documents what the router says, as far as a schema can."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from policies import document as doc
from policies.document import PolicyError, json_schema, load
from policies.retry import MOVES_ON

SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
ROOT = Path(__file__).parents[2]
POLICIES = [Path(doc.__file__).with_name("default.toml"), *sorted(ROOT.glob("docs/policies/*/policy.toml"))]


def tables(text: str) -> dict[str, Any]:
    return tomllib.loads(text)


def test_it_is_a_schema_with_a_name() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (SCHEMA["$id"], SCHEMA["title"]) == ("urn:pointsman:schema:policy", "Pointsman policy")


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.parent.name)
def test_real_policies_fit(path: Path) -> None:
    VALIDATOR.validate(tables(path.read_text("utf-8")))


GOOD = 'version = "1"\n[[routes]]\nname = "a"\nplan = { channel = "sms" }\n'


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (GOOD, True),
        (
            f'{GOOD}when = {{ local_time = {{ from = "08:00", until = "9:00" }} }}',
            False,
        ),
        (
            f'{GOOD}when = {{ local_time = {{ from = "08:00", until = "09:00" }} }}',
            True,
        ),
        (f"{GOOD}when = {{ contry = 'US' }}", False),
        (f'{GOOD}[guards.countries]\nblocked = "001"', True),
        (f'{GOOD}[groups]\nfar = ["001", "CU"]', True),
        (f'{GOOD}[groups]\nfar = ["002"]', False),
        (f"{GOOD}when = {{ session = [] }}", False),
        (f'{GOOD}[on_unknown]\notp = "retry"', True),
        (f'{GOOD}[on_unknown]\notp = "again"', False),
        (f"{GOOD}[[guards.frequency]]\nlimit = 0\nwindow = 60", False),
        ('version = "1"', False),
        (GOOD.replace('"sms"', '"sms", on = ["failed"], within = 5'), True),
        (GOOD.replace('"sms"', '"sms", on = ["message_invalid"]'), False),
        (GOOD.replace('"sms"', '"sms", within = 0'), False),
    ],
)
def test_a_document_is_judged_as_the_router_judges_it(text: str, fits: bool) -> None:
    assert VALIDATOR.is_valid(tables(text)) is fits
    try:
        load(text, "policy.toml")
    except PolicyError:
        assert not fits
    else:
        assert fits


def test_what_a_step_may_name_is_listed() -> None:
    one, many = SCHEMA["$defs"]["PlanStep"]["properties"]["on"]["anyOf"]
    assert one["enum"] == many["items"]["enum"] == list(MOVES_ON)

"""What docs/policy.md shows as TOML can be used as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policies.document import Conditions, PlanStep, load, shipped
from policies.engine import compile_policy, decide
from policies.retry import MOVES_ON
from tests.factories import NOW, a_request, a_world, facts

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text("utf-8")
EXAMPLES = [block for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if "[policy]" not in block]

GROUPS = '\n[groups]\neu = ["AT", "DE"]\n'
ROUTE = '\n[[routes]]\nname = "filler"\nplan = { channel = "sms" }\n'


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_valid_part_of_a_document(example: str) -> None:
    text = example if "version =" in example else f'version = "example"\n{example}'
    text = text.replace("plan = [", "[[routes]]\nname = 'shown'\nplan = [", 1) if example.startswith("plan") else text
    text += "" if "[groups]" in text else GROUPS
    text += "" if "[[routes]]" in text else ROUTE
    assert load(text, "docs/policy.md").routes


def test_the_page_names_every_condition_and_every_key_of_a_step() -> None:
    named = set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE))
    assert named >= set(Conditions.model_fields) | set(PlanStep.model_fields)


def test_the_page_names_every_fact_and_every_failure() -> None:
    facts_of = decide(a_request(), facts(), compile_policy(shipped(), a_world()), NOW).facts
    assert {name for name in facts_of if f"`{name}`" not in PAGE} == set()
    assert {name for name in MOVES_ON if f"`{name}`" not in PAGE} == set()


def test_the_page_shows_an_example_of_every_guard() -> None:
    shown = set(re.findall(r"^\[+guards\.(\w+)\]+$", PAGE, re.MULTILINE))
    assert shown == {"paused", "countries", "opt_in", "quiet_hours", "frequency", "segments"}

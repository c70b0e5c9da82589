"""Configuration and policy, spoilt in every way: refused with a sentence, never with a fault of ours."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies import document
from router.settings import ConfigError, load
from tests.router.bodies import JSON

ROOT = Path(__file__).parents[2]
CONFIGURATION = (ROOT / "router" / "demo" / "pointsman.toml").read_text()
POLICY = (ROOT / "docs" / "policies" / "marketplace" / "policy.toml").read_text()
SECRET = "s3cr3t-t0ken-of-tests"

E = TypeVar("E", bound=Exception)
anything = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def spoilt(text: str) -> st.SearchStrategy[str]:
    """The document with a piece cut out, doubled, or replaced."""
    noise = st.sampled_from(
        ["", "\x00", "[", "]]", '"', "= =", "[[routes]]", "[senders]", "0x", "1e999", "é", "'''", "{}"]
    )
    places = st.integers(0, len(text))
    return st.builds(
        lambda start, length, put: text[:start] + put + text[start + length :],
        places,
        st.integers(0, 60),
        noise | st.text(max_size=12) | places.map(lambda at: text[at : at + 80]),
    )


def refused(error: type[E], work: Callable[[], object]) -> E | None:
    """Why it was refused; None: it was taken. Whatever else it raises is a fault of ours."""
    try:
        work()
    except error as exc:
        return exc
    return None


def as_toml(value: Any) -> str:
    """A table of whatever JSON holds; JSON's own writing of a value is TOML's, more often than not."""
    rows = value.items() if isinstance(value, dict) else [("x", value)]
    return "\n".join(f"{json.dumps(str(key))} = {json.dumps(item)}" for key, item in rows)


@anything
@given(text=spoilt(CONFIGURATION) | JSON.map(as_toml) | st.text(max_size=200))
def test_a_configuration_is_taken_or_refused_with_a_sentence(text: str, tmp_path: Path) -> None:
    file = tmp_path / "pointsman.toml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    refusal = refused(ConfigError, lambda: load(file, {"TWILIO_AUTH_TOKEN": SECRET}))
    assert refusal is None or (str(file) in str(refusal) and SECRET not in str(refusal))


@anything
@given(
    name=st.sampled_from(
        ["NATS__URL", "NATS__REPLICAS", "HTTP__LISTEN", "SENDERS", "DISPATCH", "LOGS__LEVEL", "X", "X__Y"]
    ),
    value=st.text(max_size=40).filter(lambda text: "\x00" not in text) | JSON.map(json.dumps),
)
def test_the_environment_is_taken_or_refused_with_a_sentence(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pointsman.toml"
    file.write_text("")
    try:
        value.encode()
    except UnicodeEncodeError:
        return  # no environment can hold it
    with monkeypatch.context() as context:
        context.setenv(f"POINTSMAN_{name}", value)
        refusal = refused(ConfigError, lambda: load(file, {}))
    assert refusal is None or str(refusal)


@anything
@given(text=spoilt(POLICY) | JSON.map(as_toml) | st.text(max_size=200))
def test_a_policy_is_taken_or_refused_with_lines(text: str) -> None:
    refusal = refused(document.PolicyError, lambda: document.load(text, "policy.toml"))
    if refusal is not None:
        last = text.count("\n") + 1
        assert refusal.problems
        assert all(1 <= problem.line <= last for problem in refusal.problems), refusal


@pytest.mark.parametrize("text", [CONFIGURATION, POLICY])
def test_what_is_spoilt_here_is_good_to_begin_with(text: str) -> None:
    assert tomllib.loads(text)

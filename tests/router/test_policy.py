"""The policy in force: what the router does not carry out is refused, not passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from channels.registry import discover
from router.policy import PolicyFileError, load_policy
from router.settings import PolicySettings, Settings

ROUTE = '[[routes]]\nname = "all"\nplan = [{ channel = "sms" }]\n'


def _load(folder: Path, text: str) -> str:
    file = folder / "policy.toml"
    file.write_text(text)
    return load_policy(Settings(policy=PolicySettings(file=file)), discover()).version


def test_an_ordinary_policy_is_taken(tmp_path: Path) -> None:
    assert _load(tmp_path, f'version = "mine"\n{ROUTE}').startswith("mine+")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f'version = "1"\n[[guards.frequency]]\nlimit = 1\nwindow = 60\n{ROUTE}', "guards.frequency"),
    ],
)
def test_what_would_be_passed_over_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(PolicyFileError, match=named):
        _load(tmp_path, text)

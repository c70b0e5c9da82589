"""The policy in force, as it is read at start."""

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


@pytest.mark.parametrize("said", ["", 'unless = { reachable = "mms" }\n'])
def test_whatever_a_policy_can_say_is_carried_out(tmp_path: Path, said: str) -> None:
    cap = "[[guards.frequency]]\nlimit = 1\nwindow = 60\n"
    steps = 'plan = [{ channel = "sms", within = 60 }, { channel = "whatsapp" }]\n'
    route = f'[[routes]]\nname = "a"\nwhen = {{ reachable = "sms" }}\n{said}{steps}'

    assert _load(tmp_path, f'version = "mine"\n{cap}{route}').startswith("mine+")


def test_a_policy_that_cannot_be_read_is_refused_by_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(PolicyFileError, match=r"policy\.toml:2: routes: "):
        _load(tmp_path, 'version = "1"\nroutes = []\n')

"""Values are frozen where it costs nothing: for the type checker, and in Python's development mode."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from channels.model import PhoneNumber
from channels.values import value

ASSIGN = """
from channels.model import PhoneNumber
number = PhoneNumber("+12025550143", "US")
try:
    number.country = "CA"
except AttributeError:
    print("frozen")
"""


def test_values_are_compared_hashed_and_copied_by_their_fields() -> None:
    number = PhoneNumber("+12025550143", "US")
    assert number == PhoneNumber("+12025550143", "US")
    assert {number: 1}[PhoneNumber("+12025550143", "US")] == 1
    assert replace(number, country="CA") == PhoneNumber("+12025550143", "CA")
    assert number != PhoneNumber("+12025550143", "CA")


def test_the_development_mode_freezes_them() -> None:
    run = subprocess.run([sys.executable, "-X", "dev", "-c", ASSIGN], capture_output=True, text=True, check=True)
    assert run.stdout == "frozen\n"


def test_what_is_not_frozen_is_no_value() -> None:
    with pytest.raises(TypeError, match="a value is frozen"):
        value(frozen=False)

"""Who may import whom, and that every module says what it is for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]
MODULES = sorted(file for package in ("router", "channels", "policies") for file in (ROOT / package).rglob("*.py"))
#: The longest file that one can still hold in one's head.
LINES = 450


def test_the_import_contracts_hold(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)

    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_module_says_what_it_is_for_and_is_short_enough_to_read(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)

    assert not tree.body or ast.get_docstring(tree), "a module begins with what it is for"
    assert text.count("\n") <= LINES

"""What the documentation says is checked against what there is: links, configuration, notifications, commands."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from channels.capabilities import table
from channels.reasons import Reason
from channels.registry import discover
from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
from router.cli.app import app
from router.settings import SenderSettings, Settings, TlsSettings
from router.wire import DeadLetterEvent, DecisionModel, DeliveryEvent, InboundEvent, Notification, parse_notification

ROOT = Path(__file__).parent.parent
#: The policy has its own tests, and its TOML is no configuration.
POLICY = ROOT / "docs" / "policy.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`(pointsman [^`\n]+)`")


def blocks(page: Path, language: str) -> list[str]:
    return [_dedented(text) for name, text in _BLOCK.findall(page.read_text()) if name == language]


def _dedented(text: str) -> str:
    lines = text.splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[indent:] for line in lines) + "\n"


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_pages_of_the_readme_exist() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/policy.md", "docs/cli.md"} <= set(NAMES)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = [target for target in _LINK.findall(_without_blocks(page)) if not _resolves(page, target)]
    assert broken == []


def _without_blocks(page: Path) -> str:
    return _BLOCK.sub("", page.read_text())


def _resolves(page: Path, target: str) -> bool:
    if "://" in target:
        return True
    path, _, anchor = target.partition("#")
    linked = (page.parent / path).resolve() if path else page
    return linked.exists() and linked.is_relative_to(ROOT) and (not anchor or anchor in anchors(linked))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page != POLICY], ids=[n for n in NAMES if n != "docs/policy.md"]
)
def test_every_configuration_shown_is_accepted(page: Path) -> None:
    for text in blocks(page, "toml"):
        Settings(**tomllib.loads(text))


@pytest.mark.parametrize("file", ["deploy/pointsman.toml", "router/demo/pointsman.toml"])
def test_the_configurations_that_come_along_are_accepted(file: str) -> None:
    assert Settings(**tomllib.loads((ROOT / file).read_text())).senders


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_json_shown_is_what_it_looks_like(page: Path) -> None:
    for text in blocks(page, "json"):
        value = json.loads(text)
        if "content" in value:
            parse_notification(text.encode()).recipient()
        if "trace" in value:
            DecisionModel.model_validate(value)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_python_shown_can_be_read(page: Path) -> None:
    for text in blocks(page, "python"):
        ast.parse(text)


def commands_in(page: Path) -> Iterator[list[str]]:
    """Every `pointsman ...` shown, in a block or within a sentence, as a shell would split it."""
    lines = [line for language in ("sh", "console") for text in blocks(page, language) for line in text.splitlines()]
    shown = [line.strip().removeprefix("$ ") for line in lines] + _INLINE.findall(_without_blocks(page))
    for line in shown:
        words = shlex.split(line, comments=True)
        if words and words[0] == "pointsman" and len(words) > 1:
            yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_shown_exists_with_its_options(page: Path) -> None:
    known: Any = typer.main.get_command(app)
    for words in commands_in(page):
        if words[0].startswith("-"):
            continue  # an option of `pointsman` itself
        command, rest = known, words
        while hasattr(command, "commands") and rest:  # a group: the next word is one of its commands
            assert rest[0] in command.commands, f"there is no command {' '.join(words)!r}"
            command, rest = command.commands[rest[0]], rest[1:]
        options = {option for parameter in command.params for option in parameter.opts}
        used = {word.partition("=")[0] for word in rest if word.startswith("--")} - {"--help"}
        assert used <= options, f"pointsman {' '.join(words)} has no {used - options}"


def test_the_readme_names_the_simulators_credentials() -> None:
    text = (ROOT / "README.md").read_text()
    assert DEMO_ACCOUNT_SID in text
    assert DEMO_AUTH_TOKEN in text


@pytest.mark.parametrize(
    ("language", "folder", "suffix"), [("js", "examples/node", ".mjs"), ("go", "examples/go", ".go")]
)
def test_the_code_in_the_readme_is_that_of_the_examples(language: str, folder: str, suffix: str) -> None:
    shown = blocks(ROOT / "README.md", language)
    assert shown
    files = [file.read_text() for file in (ROOT / folder).iterdir() if file.suffix == suffix]
    written = {line.strip() for text in files for line in text.splitlines()}
    assert {line.strip() for text in shown for line in text.splitlines()} <= written


def test_the_guide_for_channels_shows_the_example_that_it_makes() -> None:
    page, example = ROOT / "docs" / "plugins.md", ROOT / "examples" / "channel-smtp"
    files = [file for file in example.rglob("*.*") if file.suffix in {".py", ".toml"}]
    written = {line for file in files for line in file.read_text().splitlines()}
    shown = [line for language in ("py", "ini") for text in _raw_blocks(page, language) for line in text.splitlines()]
    assert len(shown) > 8
    assert [line for line in shown if line not in written] == []


def _raw_blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in _BLOCK.findall(page.read_text()) if name == language]


def test_the_table_of_capabilities_is_what_the_channels_declare() -> None:
    built_in = [plugin for plugin in discover().plugins if plugin.provider in {"twilio", "memory"}]
    assert table(built_in) in (ROOT / "docs" / "plugins.md").read_text(), "python -m channels.capabilities prints it"


def test_the_site_is_built_without_a_warning_and_holds_every_page(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        str(ROOT / "docs"),
        str(tmp_path),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = [
        page.relative_to(ROOT / "docs").with_suffix(".html") for page in PAGES if page.is_relative_to(ROOT / "docs")
    ]
    menu = (tmp_path / "index.html").read_text()
    assert [str(page) for page in pages if page.name != "index.html" and f'href="{page}"' not in menu] == []


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield f"[{name}]", field.annotation
    yield "[[senders]]", SenderSettings
    yield "[nats.tls]", TlsSettings


@pytest.mark.parametrize(("section", "model"), list(_sections()), ids=[name for name, _ in _sections()])
def test_every_key_of_the_configuration_is_described(section: str, model: type[BaseModel]) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    _, found, after = text.partition(f"# `{section}`\n")
    assert found, f"no heading for {section}"
    described = set(
        re.findall(r"^\| `(\w+)` \|", re.split(r"^#+ ", after, maxsplit=1, flags=re.MULTILINE)[0], re.MULTILINE)
    )
    assert described == {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize("model", [Notification, DeliveryEvent, InboundEvent, DeadLetterEvent])
def test_every_field_of_the_contract_is_described(model: type[BaseModel]) -> None:
    text = (ROOT / "docs" / "contract.md").read_text()
    missing = [
        f.alias or n for n, f in model.model_fields.items() if n != "content" and f"`{f.alias or n}`" not in text
    ]
    assert missing == []


def test_every_reason_is_described() -> None:
    table = (ROOT / "docs" / "contract.md").read_text().partition("## Reasons")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {reason.value for reason in Reason}

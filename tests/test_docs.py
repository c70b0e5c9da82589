"""What the documentation says is checked against what there is: links, configuration, notifications, commands."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from channels.capabilities import table
from channels.reasons import Reason
from channels.registry import discover
from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
from policies import document
from router.cli.app import app
from router.sender_settings import SenderSettings
from router.settings import Settings, TlsSettings
from router.wire import DeadLetterEvent, DecisionModel, DeliveryEvent, InboundEvent, Notification, parse_notification

ROOT = Path(__file__).parent.parent
#: The policy has its own tests, and its TOML is no configuration.
POLICY = ROOT / "docs" / "policy.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
#: Pages beside what they describe: their commands are checked too.
READMES = sorted([*(ROOT / "examples").rglob("README.md"), ROOT / "bench" / "README.md"])
WITH_COMMANDS = [*PAGES, *READMES]
COMMAND_IDS = [str(page.relative_to(ROOT)) for page in WITH_COMMANDS]

#: Of Sphinx's own (`{toctree}`) too, so that none of their ends is taken for a beginning.
_BLOCK = re.compile(r"^ *```([^`\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
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


#: The class of every refusal of a command line, which Typer does not export.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
#: What a block of commands begins with.
_PROGRAMS = frozenset(
    {"$", "pointsman", "python", "pip", "make", "sh", "bash", "nats", "nats-server", "docker", "curl", "git", "export"}
)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=COMMAND_IDS)
def test_every_block_says_what_it_holds_and_no_command_hides_in_one_that_nobody_checks(page: Path) -> None:
    found = _BLOCK.findall(page.read_text())
    assert [text for language, text in found if not language] == []
    output = (text for language, text in found if language == "text")
    begins = [text for text in output if text.split() and text.split()[0] in _PROGRAMS]
    assert [text for text in begins if "COMMAND [OPTIONS]" not in text] == []


def shown_in(page: Path) -> Iterator[list[str]]:
    """Every command shown in a block, or within a sentence, as a shell would split it; what follows a pipe is left out.

    In a block of the kind `console`, what has no `$` before it is output.
    """
    lines = [line.strip() for text in blocks(page, "sh") for line in text.replace("\\\n", " ").splitlines()]
    lines += [line[2:] for text in blocks(page, "console") for line in text.splitlines() if line.startswith("$ ")]
    for line in [*lines, *_INLINE.findall(_without_blocks(page))]:
        words = list(shlex.shlex(line, posix=True, punctuation_chars="|<>;&"))
        command = list(takewhile(lambda word: not set(word) <= set("|<>;&"), _whole(line, words)))
        if command:
            yield command


def _whole(line: str, words: list[str]) -> list[str]:
    """`shlex` with punctuation cuts more than a shell does; where there is none, it need not."""
    return words if any(set(word) <= set("|<>;&") for word in words) else shlex.split(line, comments=True)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=COMMAND_IDS)
def test_every_command_shown_is_one_that_pointsman_takes(page: Path) -> None:
    """Commands, options and what they take are read as they would be, and nothing is started."""
    group: Any = typer.main.get_command(app)
    for words in shown_in(page):
        if words[0] == "pointsman" and len(words) > 1:
            refused = _refusal(group, words[1:])
            assert refused is None, f"{' '.join(words)}: {refused}"


def _refusal(group: Any, words: list[str]) -> str | None:
    """Why the command line cannot be read; None: it can."""
    command, rest = group, words
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            return f"there is no command {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.partition("=")[0] for word in rest if word.startswith("--")} - {"--help"}
    if used - options:
        return f"no option {', '.join(sorted(used - options))}"
    if hasattr(command, "commands") or "--help" in rest or not rest:
        return None  # a sentence may name a command without what it takes
    try:
        command.make_context(command.name, list(rest))
    except _USAGE_ERROR as exc:
        says = exc.format_message()
        return None if "does not exist" in says else says
    return None


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=COMMAND_IDS)
def test_every_other_command_shown_names_what_there_is(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in shown_in(page):
        match words:
            case ["make", target, *_]:
                assert target in targets, target
            case ["python" | ".venv/bin/python", "-m", module, *_] if module.split(".")[0] in {"bench", "router"}:
                assert importlib.util.find_spec(module), module
            case ["sh" | "bash", script, *_]:
                assert (ROOT / script).is_file(), script


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("send --source shop --tp +12025550143", "no option --tp"),
        ("sned", "there is no command 'sned'"),
        ("policy chekc", "there is no command 'chekc'"),
        ("watch --limit many", "no option --limit"),
        ("cancel shop", "Missing argument"),
        ("cancel shop order-1 order-2", "unexpected extra argument"),
        ("deadletters resolve 8fd7c969 --outcome maybe", "maybe"),
    ],
)
def test_what_no_command_takes_is_noticed(line: str, why: str) -> None:
    group: Any = typer.main.get_command(app)
    assert why in (_refusal(group, line.split()) or "")


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


EXAMPLE = ROOT / "examples" / "channel-smtp"
_FILE = re.compile(r"^`([\w/.]+)`:\n\n```(?:py|ini)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def guide() -> dict[str, str]:
    """The files that the guide for channels has its reader write."""
    return dict(_FILE.findall((ROOT / "docs" / "plugins.md").read_text()))


def test_the_guide_for_channels_shows_every_file_of_the_example_that_it_makes() -> None:
    shown = guide()
    assert {name: (EXAMPLE / name).read_text() for name in shown} == shown
    sources = [*(EXAMPLE / "src").rglob("*.py"), EXAMPLE / "pyproject.toml"]
    assert {str(file.relative_to(EXAMPLE)) for file in sources} <= set(shown)


def test_what_the_guide_for_channels_makes_keeps_the_contract(tmp_path: Path) -> None:
    """In an empty folder, with nothing of the example in reach."""
    for name, text in guide().items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "tests", "-q", "-p", "no:schemathesis", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"\b[3-9]\d passed", ran.stdout), ran.stdout


def test_the_policy_of_the_guide_for_channels_is_one() -> None:
    (text,) = blocks(ROOT / "docs" / "plugins.md", "policy")
    assert document.load(text, "policy.toml").routes


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

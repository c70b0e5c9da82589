"""The manners of the command line: help, exit status, and one line for what went wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.router.cli_runner import NOWHERE, pointsman

COMMANDS = ["demo", "run", "send", "watch", "trace", "explain", "simulator", "schema"]
SENDING = ("send", "--to", "+12025550143", "--text", "hello")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_has_help_with_an_example(command: str) -> None:
    result = await pointsman(command, "--help")
    assert result.exit_code == 0
    assert f"Example: pointsman {command}" in result.output


async def test_help_names_every_command() -> None:
    result = await pointsman("--help")
    assert result.exit_code == 0
    assert all(command in result.output for command in COMMANDS)


async def test_the_version_is_that_of_the_distribution() -> None:
    assert (await pointsman("--version")).output == "pointsman 0.1.0\n"


def test_help_imports_nothing_that_is_slow() -> None:
    slow = "{'nats', 'pydantic', 'faststream', 'twilio', 'aiohttp', 'phonenumbers', 'structlog'}"
    code = f"import sys, router.cli; print(sorted({slow} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ("send",),
        ("send", "--to"),
        (*SENDING, "--lane", "fast"),
        (*SENDING, "--category", "fun"),
        (*SENDING, "--source", "Shop"),
        (*SENDING, "--source", "shop.>"),
        (*SENDING, "--var", "name"),
        (*SENDING, "--metadata", "=1"),
        (*SENDING, "--file", "a.csv"),
        ("watch", "--source", "*"),
        ("watch", "--status", "sent.sms"),
        ("watch", "--id", ">"),
        ("watch", "--since", "yesterday"),
        ("watch", "--count", "0"),
        ("trace", "shop"),
        ("trace", "shop", "no.such"),
        ("explain",),
        ("explain", "a.json", "--to", "+12025550143"),
        ("schema", "everything"),
        ("run", "--roles", "intake,cook"),
        ("fly",),
    ],
)
async def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    result = await pointsman(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*SENDING, "--nats", NOWHERE), "no NATS server answers at nats://127.0.0.1:1"),
        (("watch", "--nats", NOWHERE), "no NATS server answers at nats://127.0.0.1:1"),
        (("trace", "shop", "a1", "--nats", "nats://me:hunter2@127.0.0.1:1"), "answers at nats://127.0.0.1:1:"),
        (("watch", "--nats", "foo://x:y"), "nats.url: not an address"),
        (("watch", "--config", "none.toml"), "none.toml: cannot be read"),
        (("run", "--config", "broken.toml"), "broken.toml: "),
        (("watch", "--config", "typo.toml"), "typo.toml: nats.ulr: unknown key"),
        (("send", "--to", "hello", "--text", "x", "--nats", NOWHERE), "to: not a phone number"),
        (("send", "--to", "+12025550143", "--nats", NOWHERE), "content: give at least one of text, media and template"),
        ((*SENDING, "--id", "a b", "--nats", NOWHERE), "id: must match"),
        ((*SENDING, "--send-at", "tomorrow", "--nats", NOWHERE), "send_at: write RFC 3339"),
        (("send", "--file", "none.csv", "--nats", NOWHERE), "none.csv: cannot be read"),
        (("send", "--file", "rows.xlsx", "--nats", NOWHERE), "rows.xlsx: give a file that ends in .csv or .jsonl"),
        (("explain", "none.json"), "none.json: cannot be read"),
        (("explain", "broken.toml"), "broken.toml: no JSON that can be read"),
        (("explain", "list.json"), "list.json: a notification is a JSON object"),
        (("schema", "--out", "list.json"), "list.json: cannot be written"),
    ],
)
async def test_a_failure_is_one_line_and_ends_with_1(arguments: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[nats\n")
    (tmp_path / "typo.toml").write_text('[nats]\nulr = "nats://127.0.0.1:4222"\n')
    (tmp_path / "list.json").write_text("[]")
    result = await pointsman(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    assert "hunter2" not in line


async def test_schemas_are_printed_one_by_one_or_all_at_once() -> None:
    one = await pointsman("schema", "inbound")
    every = await pointsman("schema")
    assert '"urn:pointsman:schema:inbound"' in one.stdout
    for name in ("notification", "delivery", "inbound", "deadletter", "policy"):
        assert f'"urn:pointsman:schema:{name}"' in every.stdout


async def test_schemas_are_written_to_files(tmp_path: Path) -> None:
    result = await pointsman("schema", "all", "--out", "schemas")
    assert result.exit_code == 0
    assert sorted(file.name for file in (tmp_path / "schemas").iterdir()) == [
        "asyncapi.json",
        "deadletter.schema.json",
        "delivery.schema.json",
        "inbound.schema.json",
        "notification.schema.json",
        "openapi.json",
        "policy.schema.json",
    ]

"""What operators do about policies: publish one, look at what was published, pause something and let it go again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from channels.testing import until
from tests.integration.harness import SENDERS, TEMPLATES, Harness
from tests.router.cli_runner import NOWHERE, pointsman

pytestmark = pytest.mark.nats

COMMANDS = ["pause", "resume", "paused", "policy publish", "policy show", "policy history"]
GOOD = 'version = "{}"\n\n[[routes]]\nname = "all"\nplan = [{{ channel = "whatsapp" }}, {{ channel = "sms" }}]\n'
DEAD = '\n[[routes]]\nname = "late"\nplan = [{ channel = "sms" }]\n'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    # The router runs in this process, where what it logs would be taken for what the command prints.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    async with Harness() as harness:
        await harness.start_router(policy={"bucket": True})
        rows = [
            "\n".join(["[[senders]]", *(f"{key} = {json.dumps(value)}" for key, value in sender.items())])
            for sender in SENDERS
        ]
        templates = [f'[templates.{name}]\nen = "{row["en"]}"' for name, row in TEMPLATES.items()]
        policy = "[policy]\nbucket = true"
        nats = f'[nats]\nurl = "{harness.server.url}"'
        (tmp_path / "pointsman.toml").write_text("\n".join([nats, policy, *rows, *templates]))
        yield harness


async def run(*arguments: str, status: int = 0) -> str:
    result = await pointsman(*arguments)
    assert result.exit_code == status, result.output
    return result.stdout + result.stderr


def in_force(harness: Harness) -> str:
    return harness.routers[0].health.notes()["policy"]


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_has_help_with_an_example(command: str) -> None:
    result = await pointsman(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Example: pointsman {command}" in result.output


async def test_a_published_policy_is_in_force_and_in_the_history(harness: Harness, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD.format("one"))
    assert await run("policy", "history") == "none is published yet\n"
    assert "none is published yet" in await run("policy", "show", status=1)

    said = await run("policy", "publish", "mine.toml", "--note", "first")

    assert said.startswith("published as number 1: one+")
    await until(lambda: in_force(harness).startswith("one+"))
    file.write_text(GOOD.format("two"))
    published = json.loads(await run("policy", "publish", "mine.toml", "--json"))
    assert (published["number"], published["version"].partition("+")[0], published["note"]) == (2, "two", "")
    await until(lambda: in_force(harness) == published["version"])

    assert await run("policy", "show") == GOOD.format("two")
    assert await run("policy", "show", "1") == GOOD.format("one")
    assert json.loads(await run("policy", "show", "1", "--json"))["note"] == "first"
    listed = json.loads(await run("policy", "history", "--json"))["published"]
    assert [(row["number"], row["note"]) for row in listed] == [(2, ""), (1, "first")]
    head, newest, _ = (await run("policy", "history")).splitlines()
    assert head.split() == ["number", "version", "ago", "note"]
    assert newest.split()[:2] == ["2", published["version"]]
    assert "number 7 is not kept" in await run("policy", "show", "7", status=1)


async def test_what_the_check_objects_to_is_published_only_by_force(harness: Harness, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD.format("dead") + DEAD)

    said = await run("policy", "publish", "mine.toml", status=1)

    assert "mine.toml:7: error: routes[1]: this route can never match" in said
    assert "mine.toml is not published: mend it, or --force it" in said
    assert await run("policy", "history") == "none is published yet\n"
    await run("policy", "publish", "mine.toml", "--force")
    await until(lambda: in_force(harness).startswith("dead+"))

    file.write_text("version = 1\n")
    said = await run("policy", "publish", "mine.toml", "--force", status=1)
    assert "mine.toml:1: error: version: should be a valid string" in said
    assert said.rstrip().endswith("mine.toml is not published: mend it")


async def test_pause_and_resume(harness: Harness) -> None:
    assert await run("paused") == "no switch pauses anything\n"

    said = await run("pause", "category", "marketing", "--for", "2h", "--note", "wrong prices")

    assert said.startswith("category 'marketing' is paused by an operator since 20")
    assert said.endswith("UTC: wrong prices; what it stops is suppressed\n")
    await until(lambda: "~" in in_force(harness))
    decision = json.loads(
        await run("explain", "--to", "+12025550143", "--text", "x", "--category", "marketing", "--json")
    )
    assert (decision["outcome"], decision["reason"]) == ("suppressed", "paused")
    thrown = json.loads(await run("pause", "source", "crm", "--defer", "--again", "1m", "--json"))
    assert (thrown["action"], thrown["again"], thrown["until"]) == ("defer", 60.0, None)
    listed = json.loads(await run("paused", "--json"))["paused"]
    assert [(row["kind"], row["name"], row["note"]) for row in listed] == [
        ("category", "marketing", "wrong prices"),
        ("source", "crm", ""),
    ]
    assert "wrong prices" in await run("paused")

    assert await run("resume", "category", "marketing") == "category 'marketing' goes on\n"
    assert await run("resume", "source", "crm") == "source 'crm' goes on\n"
    await until(lambda: "~" not in in_force(harness))
    assert "no switch has paused source 'crm'" in await run("resume", "source", "crm", status=1)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (
            ("pause", "category", "adverts"),
            1,
            "no category 'adverts': there are otp, transactional, service, marketing",
        ),
        (("pause", "channel", "whatsap"), 1, "no channel 'whatsap' is installed: there are mms, sms, whatsapp"),
        (("pause", "sender", "us"), 2, "'sender' is not one of"),
        (("pause", "source", "a.b"), 2, "must match"),
        (("pause", "source", "crm", "--for", "soon"), 2, "write a number and s, m, h or d"),
        (("paused", "--nats", NOWHERE), 1, "no NATS server answers"),
        (("policy", "publish", "none.toml"), 1, "none.toml: cannot be read"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_line(arguments: tuple[str, ...], status: int, said: str) -> None:
    assert said in await run(*arguments, status=status)


async def test_where_the_bucket_is_configured_a_check_needs_a_file(harness: Harness, tmp_path: Path) -> None:
    assert "give a file: the policy in force is in NATS" in await run("policy", "check", status=1)
    (tmp_path / "mine.toml").write_text(GOOD.format("one"))
    assert "nothing to mend" in await run("policy", "check", "mine.toml")
    assert in_force(harness).startswith("2026-11-01+")

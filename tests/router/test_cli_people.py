"""What people do about notifications: take them back, look after dead letters, check and compare policies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from channels.testing import until
from channels.twilio.simulator import Faults
from policies import document
from router.clock import rfc3339, utc_now
from router.embedded import EmbeddedNats
from tests.integration.harness import IN, SENDERS, TEMPLATES, US, US_2, Harness
from tests.router.cli_runner import NOWHERE, pointsman

pytestmark = pytest.mark.nats

MEMBERS = ["deadletters list", "deadletters show", "deadletters replay", "deadletters resolve"]
MEMBERS += ["policy check", "policy diff", "cancel"]
SHIPPED = Path(document.__file__).with_name("default.toml").read_text("utf-8")
#: Takes the United States away, and says what India gets in another order.
OTHER = """
version = "other"

[guards.countries]
allowed = ["IN", "JM"]

[[routes]]
name = "everything"
plan = [{ channel = "sms", form = ["text", "link", "template"] }]
"""
#: Within the time for which notifications are kept.
LATER = rfc3339(utc_now() + timedelta(days=1))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    # The router runs in this process, where what it logs would be taken for what the command prints.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    async with Harness(faults=Faults(scripts={US_2: ("drop_before",)})) as harness:
        await harness.start_router(reconcile={"wait": 0.2, "settle": 0.5})
        yield harness


@pytest.fixture
async def held(harness: Harness) -> str:
    """The id of a dead letter: an attempt of which nobody can say whether it was sent."""
    await harness.publish("n-1", US_2, on_unknown="hold", content={"text": "a secret for Ada"})
    return await _letter(harness)


async def _letter(harness: Harness) -> str:
    """The id of the one dead letter there is."""
    await until(lambda: bool(harness.dead_letters))
    (letter,) = harness.dead_letters
    return str(letter.body["dead_letter_id"])


async def _run(harness: Harness, *arguments: str, status: int = 0) -> str:
    """What a command prints, to stdout or as its one error."""
    result = await pointsman(*arguments, "--nats", harness.server.url)
    assert result.exit_code == status, result.output
    return result.stdout or result.stderr


def _configure(folder: Path, name: str = "pointsman.toml") -> None:
    """Senders and templates of the harness, in the file that commands look for."""
    rows = [
        "\n".join(["[[senders]]", *(f"{key} = {json.dumps(value)}" for key, value in sender.items())])
        for sender in SENDERS
    ]
    templates = [f'[templates.{name}]\nen = "{row["en"]}"' for name, row in TEMPLATES.items()]
    (folder / name).write_text("\n".join([*rows, *templates]))


@pytest.mark.parametrize("command", MEMBERS)
async def test_every_command_has_help_with_an_example(command: str) -> None:
    result = await pointsman(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Example: pointsman {command}" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("cancel", "shop"),
        ("cancel", "shop", "no.such"),
        ("cancel", "Shop", "a1"),
        ("deadletters",),
        ("deadletters", "bury"),
        ("deadletters", "list", "--state", "lost"),
        ("deadletters", "list", "--stage", "in.take"),
        ("deadletters", "list", "--source", "*"),
        ("deadletters", "show"),
        ("deadletters", "resolve", "a1", "--outcome", "perhaps"),
        ("policy",),
        ("policy", "diff"),
        ("policy", "diff", "other.toml", "--since", "lately"),
        ("policy", "diff", "other.toml", "--limit", "0"),
    ],
)
async def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    result = await pointsman(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("cancel", "shop", "a1", "--nats", NOWHERE), "no NATS server answers at nats://127.0.0.1:1"),
        (("deadletters", "list", "--nats", NOWHERE), "no NATS server answers at nats://127.0.0.1:1"),
        (("policy", "diff", "good.toml", "-c", "full.toml", "--nats", NOWHERE), "no NATS server answers at"),
        (("policy", "diff", "good.toml", "--nats", NOWHERE), "the configuration has no senders"),
        (("policy", "check"), "the configuration has no senders, so no step of a policy can work: give --config"),
        (("policy", "check", "none.toml"), "none.toml: cannot be read"),
        (("policy", "check", "latin.toml"), "latin.toml: not UTF-8"),
        (("policy", "check", "--config", "none.toml"), "none.toml: cannot be read"),
        (("policy", "diff", "none.toml", "--nats", NOWHERE), "none.toml: cannot be read"),
        (("policy", "diff", "typo.toml", "--nats", NOWHERE), "typo.toml:1: verion: there is no such key"),
    ],
)
async def test_a_failure_is_one_line_and_ends_with_1(arguments: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    _configure(tmp_path, "full.toml")
    (tmp_path / "good.toml").write_text(OTHER)
    (tmp_path / "typo.toml").write_text('verion = "1"\n')
    (tmp_path / "latin.toml").write_bytes(b"# \xff\n")
    result = await pointsman(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert sentence in line


@pytest.mark.parametrize("arguments", [("cancel", "shop", "a1"), ("deadletters", "list")])
async def test_where_no_router_answers_that_is_said(nats_server: EmbeddedNats, arguments: tuple[str, ...]) -> None:
    result = await pointsman(*arguments, "--nats", nats_server.url)
    assert (result.exit_code, result.stderr) == (1, "error: no router answers: start one (pointsman run)\n")


async def test_where_no_router_ever_ran_there_is_nothing_to_compare(nats_server: EmbeddedNats, tmp_path: Path) -> None:
    _configure(tmp_path)
    (tmp_path / "other.toml").write_text(OTHER)
    result = await pointsman("policy", "diff", "other.toml", "--nats", nats_server.url)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: NATS has no stream DELIVERIES")


async def test_what_waits_is_taken_back(harness: Harness) -> None:
    for identity in ("n-1", "n-2"):
        await harness.publish(identity, send_at=LATER)
        await harness.wait_for(identity, "deferred")

    said = await _run(harness, "cancel", "shop", "n-1")
    told = await _run(harness, "cancel", "shop", "n-2", "--json")

    assert said == "shop/n-1 is taken back: nothing of it was on its way\n"
    assert json.loads(told) == {
        "source": "shop",
        "id": "n-2",
        "canceled": True,
        "because": "nothing of it was on its way",
    }
    assert [(await harness.wait_for_final(identity)).status for identity in ("n-1", "n-2")] == ["canceled"] * 2


async def test_what_has_arrived_is_too_late_to_take_back(harness: Harness) -> None:
    await harness.publish("n-1")
    await harness.wait_for("n-1", "delivered")

    said = await _run(harness, "cancel", "shop", "n-1", status=1)
    told = await _run(harness, "cancel", "shop", "n-1", "--json", status=1)

    assert said == "error: too late for shop/n-1: it has ended already\n"
    assert json.loads(told)["canceled"] is False


async def test_what_was_never_published_cannot_be_taken_back(harness: Harness) -> None:
    said = await _run(harness, "cancel", "shop", "n-9", status=1)
    assert said == "error: no notification 'n-9' of 'shop' is in the log (yet)\n"


async def test_dead_letters_are_listed_in_columns(harness: Harness, held: str) -> None:
    head, row = (await _run(harness, "deadletters", "list")).splitlines()
    (told,) = json.loads(await _run(harness, "deadletters", "list", "--json"))

    assert head.split() == ["id", "state", "age", "stage", "notification", "reason", "message"]
    identity, state, age, stage, about, reason, *message = row.split()
    assert (identity, state, stage, about, reason) == (held, "open", "reconcile", "shop/n-1", "held")
    assert age.endswith("s")
    assert " ".join(message) == told["message"]
    assert head.index("message") == row.index(told["message"])
    for others in (("--stage", "intake"), ("--source", "bank"), ("--state", "resolved")):
        assert await _run(harness, "deadletters", "list", *others) == "nothing needs a person\n"


async def test_a_dead_letter_is_shown_with_its_story_and_nothing_personal(harness: Harness, held: str) -> None:
    shown = await _run(harness, "deadletters", "show", held)
    full = await _run(harness, "deadletters", "show", held, "--show-recipients")
    told = json.loads(await _run(harness, "deadletters", "show", held, "--json"))

    lines = shown.splitlines()
    assert lines[0] == "shop/n-1  reconcile  held  open"
    assert f"id: {held}" in lines
    assert [line.split()[1] for line in lines[-3:]][1:] == ["sending", "unknown"]
    for private in (US_2, "secret", "Ada"):
        assert private not in shown
        assert private in full
    assert '"id": "n-1"' in shown
    assert told["body"] == harness.dead_letters[0].body["body"]
    assert [event["status"] for event in told["events"]] == ["routed", "sending", "unknown"]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"call +12025550123", "body: ***"),
        (b'["+12025550123"]', "body: ***"),
        (b'{"id": 1, "to": "+12025550123", "texxt": "hi Ada"}', 'body: {"id": 1, "to": "***", "texxt": "***"}'),
        (b"\xff\xfe", "body: ***"),
    ],
)
async def test_of_a_body_that_nobody_could_read_the_names_of_its_fields_are_shown(
    harness: Harness, body: bytes, shown: str
) -> None:
    await harness.publish_raw("notifications.normal.shop", body)
    identity = await _letter(harness)

    lines = (await _run(harness, "deadletters", "show", identity)).splitlines()

    assert lines[0] == "shop  intake  unreadable  open"
    assert shown in lines
    assert US not in "".join(lines)


async def test_what_a_terminal_would_act_upon_is_written_out(harness: Harness) -> None:
    await harness.publish_raw("notifications.normal.shop", b"\x1b[2Jgone\r\n")
    identity = await _letter(harness)
    full = await _run(harness, "deadletters", "show", identity, "--show-recipients")
    assert "body: \\x1b[2Jgone\\r\\n" in full.splitlines()


async def test_a_dead_letter_is_given_back_and_sent_once(harness: Harness, held: str) -> None:
    first = await _run(harness, "deadletters", "replay", held, "--note", "it never arrived")
    second = json.loads(await _run(harness, "deadletters", "replay", held, "--json"))

    assert first == "sent again as a new attempt\n"
    assert second == {"id": held, "done": "nothing to do: its outcome is known by now"}
    assert (await harness.wait_for_final("n-1")).status == "delivered"
    assert len(harness.sent) == 1
    assert held in await _run(harness, "deadletters", "list", "--state", "replayed")


async def test_a_held_attempt_is_closed_by_who_knows_its_outcome(harness: Harness, held: str) -> None:
    unsaid = await _run(harness, "deadletters", "resolve", held, status=1)
    done = await _run(harness, "deadletters", "resolve", held, "--outcome", "sent", "--note", "seen in the console")
    again = await _run(harness, "deadletters", "replay", held, status=1)

    assert unsaid.startswith("error: say whether it was sent")
    assert done == "recorded\n"
    assert (await harness.wait_for_final("n-1")).status == "sent"
    assert again == "error: it was resolved by hand; publish a new notification instead\n"
    assert await _run(harness, "deadletters", "list") == "nothing needs a person\n"
    assert "note: seen in the console" in await _run(harness, "deadletters", "show", held)


async def test_an_unknown_dead_letter_is_named(harness: Harness) -> None:
    for what in ("show", "replay", "resolve"):
        said = await _run(harness, "deadletters", what, "nobody", status=1)
        assert said.startswith("error: no dead letter has this id")


async def test_a_note_that_is_too_long_is_refused_by_name(harness: Harness, held: str) -> None:
    said = await _run(harness, "deadletters", "replay", held, "--note", "x" * 1001, status=1)
    assert said == "error: note: must be a text of 1000 characters at most\n"
    assert harness.statuses("n-1") == ["routed", "sending", "unknown"]


async def test_a_policy_with_nothing_to_find_passes(tmp_path: Path) -> None:
    _configure(tmp_path)
    (tmp_path / "policy.toml").write_text(SHIPPED)
    shipped = await pointsman("policy", "check")
    named = await pointsman("policy", "check", "policy.toml", "--json")
    version = document.shipped().version

    assert (shipped.exit_code, shipped.stdout) == (0, f"default.toml: nothing to mend in policy {version}\n")
    assert named.exit_code == 0
    assert json.loads(named.stdout) == {"file": "policy.toml", "policy": version, "findings": []}


async def test_the_configured_policy_is_the_one_that_is_checked(tmp_path: Path) -> None:
    _configure(tmp_path)
    configuration = tmp_path / "pointsman.toml"
    configuration.write_text(f'{configuration.read_text()}\n[policy]\nfile = "mine.toml"\n')
    (tmp_path / "mine.toml").write_text(SHIPPED)
    result = await pointsman("policy", "check")
    assert result.stdout.startswith("mine.toml: nothing to mend")


async def test_findings_stand_at_their_line(tmp_path: Path) -> None:
    _configure(tmp_path)
    (tmp_path / "policy.toml").write_text(SHIPPED.replace('channel = "mms"', 'channel = "fax"'))
    said = await pointsman("policy", "check", "policy.toml")
    told = await pointsman("policy", "check", "policy.toml", "--json")

    (finding,) = json.loads(told.stdout)["findings"]
    line = next(number for number, text in enumerate(SHIPPED.splitlines(), 1) if 'channel = "mms"' in text)
    assert (said.exit_code, told.exit_code) == (1, 1)
    assert (finding["line"], finding["severity"]) == (line, "error")
    assert said.stdout == f"policy.toml:{line}: error: {finding['where']}: {finding['message']}\n"


async def test_what_is_no_policy_is_found_too(tmp_path: Path) -> None:
    _configure(tmp_path)
    (tmp_path / "policy.toml").write_text('version = "1"\nrotes = []\n')
    said = await pointsman("policy", "check", "policy.toml")
    told = json.loads((await pointsman("policy", "check", "policy.toml", "--json")).stdout)

    assert (said.exit_code, said.stderr) == (1, "")
    assert "policy.toml:2: error: rotes: there is no such key" in said.stdout
    assert told["policy"] is None
    assert {"line": 1, "where": "routes", "severity": "error", "message": "is required"} in told["findings"]


async def _traffic(harness: Harness) -> None:
    """Three decisions, and a notification that never came to one."""
    await harness.publish("n-1")
    await harness.publish("n-2", US, content={"text": "hi"})
    await harness.publish("n-3", IN)
    await harness.publish("n-4", tyop=1)
    for identity in ("n-1", "n-2", "n-3", "n-4"):
        await harness.wait_for_final(identity)


async def test_another_policy_is_compared_with_what_was_decided(harness: Harness, tmp_path: Path) -> None:
    _configure(tmp_path)
    (tmp_path / "other.toml").write_text(OTHER)
    await _traffic(harness)

    said = await _run(harness, "policy", "diff", "other.toml", status=1)
    report = json.loads(await _run(harness, "policy", "diff", "other.toml", "--json", status=1))

    assert (report["decided"], report["changed"], report["by_country"]) == (3, 2, {"US": 2})
    assert report["by_channel"] == {"none": {"was": 0, "becomes": 2}, "sms": {"was": 3, "becomes": 1}}
    (change,) = report["changes"]
    assert (change["was"], change["becomes"]) == ("sms text from us", "suppressed country_blocked")
    lines = said.splitlines()
    assert lines[0] == f"decided 3 again under policy {report['policy']}: 2 change"
    assert lines[-1].split("  ")[-1] == "shop/n-1, shop/n-2"
    assert [line.split() for line in lines if line.startswith("sms")] == [["sms", "3", "1"]]


async def test_the_same_policy_changes_nothing(harness: Harness, tmp_path: Path) -> None:
    _configure(tmp_path)
    (tmp_path / "same.toml").write_text(SHIPPED)
    await _traffic(harness)
    said = await _run(harness, "policy", "diff", "same.toml", "--since", "1h")
    assert said == f"decided 3 again under policy {document.shipped().version}: 0 change\n"


async def test_only_so_much_is_compared_and_that_is_said(harness: Harness, tmp_path: Path) -> None:
    _configure(tmp_path)
    (tmp_path / "same.toml").write_text(SHIPPED)
    await _traffic(harness)
    result = await pointsman("policy", "diff", "same.toml", "--limit", "2", "--nats", harness.server.url)
    assert result.stdout.startswith("decided 2 again")
    assert result.stderr == "there may be more than these 2 decisions: see --limit\n"


async def test_where_nothing_was_decided_nothing_changes(harness: Harness, tmp_path: Path) -> None:
    _configure(tmp_path)
    (tmp_path / "other.toml").write_text(OTHER)
    said = await _run(harness, "policy", "diff", "other.toml")
    assert said.startswith("decided 0 again under policy other+")


async def test_more_decisions_than_are_read_at_a_time(harness: Harness, tmp_path: Path) -> None:
    _configure(tmp_path)
    (tmp_path / "other.toml").write_text(OTHER)
    for number in range(600):
        await harness.publish(f"n-{number}", send_at=LATER)
    await until(lambda: len(harness.deliveries) == 600)
    report: dict[str, Any] = json.loads(await _run(harness, "policy", "diff", "other.toml", "--json", status=1))
    assert (report["decided"], report["changed"]) == (600, 600)

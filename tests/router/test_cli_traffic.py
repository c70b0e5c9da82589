"""The commands against a real NATS server, a router and the provider's simulator."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
import structlog

from channels.testing import until
from router.embedded import EmbeddedNats
from router.jetstream import JetStream
from tests.integration.harness import US, US_2, Harness
from tests.router.cli_runner import pointsman, start

pytestmark = pytest.mark.nats

JAMAICA = "+18765550100"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    # The router runs in this process, where what it logs would be taken for what the command prints.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    async with Harness() as harness:
        await harness.start_router()
        yield harness


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def sent(harness: Harness, identity: str, *options: str, to: str = US) -> None:
    """One notification of the shop, followed to its end."""
    result = await pointsman(
        *("send", "--source", "shop", "--id", identity, "--to", to, "--text", "hello", "--wait", *options),
        *("--nats", harness.server.url),
    )
    assert result.exit_code == 0, result.output


async def test_a_notification_is_sent_and_followed_to_its_end(harness: Harness) -> None:
    result = await pointsman(
        *("send", "--source", "shop", "--id", "order-1", "--to", US, "--text", "hello", "--lane", "urgent"),
        *("--metadata", "order=1", "--category", "otp", "--wait", "--nats", harness.server.url),
    )
    assert result.exit_code == 0, result.output
    first, *events = result.stdout.splitlines()
    assert first == "published shop/order-1 as number 1 of NOTIFICATIONS"
    assert [event.split()[2] for event in events][:2] == ["routed", "sending"]
    assert "delivered" in events[-1]
    assert US not in result.output
    assert "+1202***0123" in result.output
    [event] = [each for each in harness.deliveries if each.status == "routed"]
    assert (event.body["lane"], event.body["category"], event.body["metadata"]) == ("urgent", "otp", {"order": "1"})


async def test_an_id_is_made_up_and_printed(harness: Harness) -> None:
    result = await pointsman("send", "--to", US, "--text", "hello", "--json", "--nats", harness.server.url)
    [said] = documents(result.stdout)
    assert said["published"] is True
    assert said["source"] == "cli"
    stored = await harness.js.get_last_msg("NOTIFICATIONS", "notifications.normal.cli")
    assert stored.data is not None
    assert json.loads(stored.data) == {"id": said["id"], "to": US, "content": {"text": "hello"}}


async def test_waiting_for_what_does_not_arrive_ends_with_1(harness: Harness) -> None:
    result = await pointsman(
        *("send", "--to", JAMAICA, "--text", "hello", "--channel", "mms", "--wait", "--nats", harness.server.url)
    )
    assert result.exit_code == 1
    assert result.stderr == "error: not everything arrived: 1 rejected\n"


async def test_waiting_for_news_of_an_old_id_ends_in_time(harness: Harness) -> None:
    await sent(harness, "order-1")
    result = await pointsman(
        *("send", "--source", "shop", "--id", "order-1", "--to", US, "--text", "hello"),
        *("--wait", "--timeout", "0.3", "--nats", harness.server.url),
    )
    assert result.exit_code == 1
    assert "without a final event after 0.3 s: 1, among them order-1" in result.stderr


async def test_checking_publishes_nothing(harness: Harness) -> None:
    result = await pointsman("send", "--to", US, "--text", "x", "--id", "a1", "--check-only", "--nats", "nats://x")
    assert (result.exit_code, result.stdout) == (0, "cli/a1 is as the contract wants it\n")
    assert (await harness.js.stream_info("NOTIFICATIONS")).state.messages == 0


async def test_a_file_is_published_but_for_its_bad_rows(harness: Harness, tmp_path: Path) -> None:
    good = [f"a{number},{US if number % 2 else US_2},hello {number}" for number in range(150)]
    lines = ["id,to,content.text", *good, "b1,12,hello", "b2,,hello"]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    result = await pointsman("send", "--file", "rows.csv", "--source", "shop", "--wait", "--nats", harness.server.url)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "152 rows, 150 published, 2 refused, 0 unacknowledged"
    told = result.stderr.splitlines()
    assert [line.partition(" ")[0] for line in told] == ["rows.csv:152:", "rows.csv:153:"]
    assert told[0].startswith("rows.csv:152: to: not a phone number")
    assert told[1] == "rows.csv:153: to: Field required"

    def delivered() -> list[bool]:
        return [event.body["final"] for event in harness.deliveries if event.status == "delivered"]

    await until(lambda: delivered() == [True] * 150)  # the harness hears of it a moment after the command


async def test_json_lines_are_published_too(harness: Harness, tmp_path: Path) -> None:
    row = {"id": "a1", "to": US, "content": {"text": "hello"}}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    result = await pointsman("send", "--file", "rows.jsonl", "--json", "--nats", harness.server.url)
    assert result.exit_code == 0
    assert documents(result.stdout) == [{"rows": 1, "published": 1, "refused": 0, "unacknowledged": 0}]


async def test_a_checked_file_is_not_published(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(f"id,to,content.text\na1,{US},hello\n,x,\n")
    result = await pointsman("send", "--file", "rows.csv", "--check-only", "--nats", harness.server.url)
    assert (result.exit_code, result.stdout) == (1, "2 rows, 0 published, 1 refused, 0 unacknowledged\n")
    assert (await harness.js.stream_info("NOTIFICATIONS")).state.messages == 0


async def test_what_was_read_before_a_file_breaks_is_counted(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(f"id,to,content.text\na1,{US},hello\n".encode() + b"a2,\xff,x\n")
    result = await pointsman("send", "--file", "rows.csv", "--nats", harness.server.url)
    assert result.exit_code == 1
    assert result.stdout == "1 rows, 1 published, 0 refused, 0 unacknowledged\n"
    assert result.stderr == "error: rows.csv:3: not UTF-8\n"


async def test_watching_shows_what_happened_since(harness: Harness) -> None:
    await sent(harness, "order-1")
    await sent(harness, "order-2", to=US_2)
    url = harness.server.url
    lines = await pointsman("watch", "--since", "1h", "--status", "delivered", "--count", "2", "--nats", url)
    assert lines.exit_code == 0
    assert [line.split()[1:4] for line in lines.stdout.splitlines()] == [
        ["shop/order-1", "delivered", "sms/text"],
        ["shop/order-2", "delivered", "sms/text"],
    ]
    assert US not in lines.stdout
    one = await pointsman("watch", "--since", "1h", "--id", "order-2", "--count", "1", "--json", "--nats", url)
    [event] = documents(one.stdout)
    assert (event["notification_id"], event["status"], event["recipient"]) == ("order-2", "routed", US_2)
    full = await pointsman("watch", "--since", "1h", "--count", "1", "--show-recipients", "--nats", url)
    assert US in full.stdout


async def test_watching_follows_through_a_restart_of_the_server(tmp_path: Path) -> None:
    async with EmbeddedNats() as server:
        await _publish_events(server, first=1, last=2, create=True)
        process = await start("watch", "--since", "1h", "--json", "--nats", server.url, cwd=tmp_path)
        assert process.stdout is not None
        seen = [json.loads(await process.stdout.readline())["notification_id"] for _ in range(2)]
        server.kill()
        await server.wait()
        await server.start()
        await _publish_events(server, first=3, last=5)
        seen += [json.loads(await process.stdout.readline())["notification_id"] for _ in range(3)]
        assert seen == ["a1", "a2", "a3", "a4", "a5"]
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        assert process.stderr is not None
        assert await process.stderr.read() == b""


async def test_many_events_come_all_and_in_order(nats_server: EmbeddedNats) -> None:
    await _publish_events(nats_server, first=1, last=1500, create=True)
    result = await pointsman("watch", "--since", "1h", "--count", "1500", "--json", "--nats", nats_server.url)
    assert [event["notification_id"] for event in documents(result.stdout)] == [f"a{n}" for n in range(1, 1501)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch",),
        ("trace", "shop", "a1"),
        ("send", "--to", US, "--text", "x"),
        ("send", "--to", US, "--text", "x", "--wait"),
    ],
)
async def test_where_no_router_ever_ran_that_is_said(nats_server: EmbeddedNats, arguments: tuple[str, ...]) -> None:
    result = await pointsman(*arguments, "--nats", nats_server.url)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: NATS has no stream ")
    assert len(result.stderr.splitlines()) == 1


async def test_a_file_where_no_router_ever_ran(nats_server: EmbeddedNats, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(f"id,to,content.text\na1,{US},hello\n")
    result = await pointsman("send", "--file", "rows.csv", "--nats", nats_server.url)
    assert result.exit_code == 1
    assert "rows.csv:2: not acknowledged" in result.stderr
    assert "error: NATS has no stream NOTIFICATIONS" in result.stderr


async def test_a_story_is_told_with_the_reasons(harness: Harness) -> None:
    await sent(harness, "order-1", "--metadata", "order=1")
    result = await pointsman("trace", "shop", "order-1", "--nats", harness.server.url)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "shop/order-1  transactional  normal lane  +1202***0123"
    assert lines[1] == "metadata: order=1"
    assert "routed" in lines[3]
    assert any(line.startswith("    1. sms/text from us") for line in lines)
    assert any("guard.suppression: no opt-out is on record" in line for line in lines)
    assert "delivered" in lines[-1]


async def test_a_story_is_the_same_without_a_router(harness: Harness) -> None:
    await sent(harness, "order-1")
    arguments = ("trace", "shop", "order-1", "--json", "--nats", harness.server.url)
    told = await pointsman(*arguments)
    await harness.stop_router(harness.routers[0])
    read = await pointsman(*arguments)
    assert read.exit_code == 0
    assert json.loads(read.stdout) == json.loads(told.stdout)
    assert json.loads(told.stdout)[0]["recipient"] == US


async def test_an_unknown_id_is_named(harness: Harness) -> None:
    arguments = ("trace", "shop", "order-9", "--nats", harness.server.url)
    asked = await pointsman(*arguments)
    await harness.stop_router(harness.routers[0])
    read = await pointsman(*arguments)
    for result in (asked, read):
        assert result.exit_code == 1
        assert result.stderr == "error: no notification 'order-9' of 'shop' is in the log\n"


async def test_a_router_explains(harness: Harness) -> None:
    result = await pointsman("explain", "--to", US, "--text", "hello", "--json", "--nats", harness.server.url)
    assert result.exit_code == 0
    assert result.stderr == ""
    decision = json.loads(result.stdout)
    assert decision["outcome"] == "routed"
    assert [step["sender"] for step in decision["plan"]] == ["us"]
    assert decision["facts"]["source"] == "cli"


async def test_a_router_s_refusal_names_the_field(harness: Harness) -> None:
    result = await pointsman("explain", "-", "--nats", harness.server.url, stdin='{"id": "a1", "too": 1}')
    assert result.exit_code == 1
    assert "too: unknown field" in result.stderr


async def test_nothing_is_stored_by_an_explanation(harness: Harness) -> None:
    await pointsman("explain", "--to", US, "--text", "hello", "--nats", harness.server.url)
    assert (await harness.js.stream_info("NOTIFICATIONS")).state.messages == 0


async def _publish_events(server: EmbeddedNats, first: int, last: int, *, create: bool = False) -> None:
    """Delivery events of which only the id matters here."""
    client = await nats.connect(server.url)
    js = JetStream(client)
    await js.start()
    if create:
        await js.api("STREAM.CREATE.DELIVERIES", {"name": "DELIVERIES", "subjects": ["deliveries.>"]})
    bodies = [json.dumps({"notification_id": f"a{number}"}).encode() for number in range(first, last + 1)]
    for body in bodies:
        await js.publish("deliveries.shop.sent.sms.any", body)
    await js.stop()
    await client.close()

"""The commands that stay, as processes; and decisions made where nobody answers."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from router.embedded import EmbeddedNats
from tests.router.cli_runner import NOWHERE, pointsman, start

CONFIG = """
[http]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[logs]
format = "json"

[dispatch]
drain = 1

[[senders]]
name = "us"
kind = "10dlc"
channels = ["sms", "mms"]
from = "+15017122661"
countries = ["US", "CA"]

[[senders]]
name = "wa"
kind = "whatsapp"
channels = ["whatsapp"]
from = "+14155238886"

[templates.order_shipped]
category = "utility"
en = "HX00000000000000000000000000000001"
"""
NOTIFICATION = {"id": "a1", "to": "+12025550143", "content": {"text": "hello"}}


@pytest.fixture(autouse=True)
def _configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC" + "0" * 32)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "a-token-nobody-may-read")
    (tmp_path / "pointsman.toml").write_text(CONFIG)


async def line(process: asyncio.subprocess.Process, event: str, *, stderr: bool = True) -> dict[str, Any]:
    """The first log line of this event."""
    stream = process.stderr if stderr else process.stdout
    assert stream is not None
    async with asyncio.timeout(30):
        while text := await stream.readline():
            found: dict[str, Any] = json.loads(text)
            if found["event"] == event:
                return found
    raise AssertionError(f"the process ended without {event}")


@pytest.mark.nats
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_router_runs_until_it_is_told_to_stop(
    nats_server: EmbeddedNats, tmp_path: Path, number: signal.Signals
) -> None:
    process = await start("run", "--nats", nats_server.url, "--roles", "intake, tracking", cwd=tmp_path)
    ready = await line(process, "router.ready")
    assert ready["roles"] == ["intake", "tracking"]
    async with aiohttp.ClientSession() as http, http.get(f"{ready['admin']}/readyz") as response:
        assert response.status == 200
    process.send_signal(number)
    stdout, stderr = await process.communicate()
    assert process.returncode == 0
    assert stdout == b""
    assert b"router.stopped" in stderr
    assert b"a-token-nobody-may-read" not in stderr


@pytest.mark.nats
async def test_an_address_that_is_taken_is_named(nats_server: EmbeddedNats, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "pointsman.toml").write_text(CONFIG.replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
        process = await start("run", "--nats", nats_server.url, cwd=tmp_path)
        _, stderr = await process.communicate()
    assert process.returncode == 1
    assert stderr.decode().startswith(f"error: cannot listen on 127.0.0.1:{port}")
    assert len(stderr.splitlines()) == 1


async def test_the_simulator_says_where_it_listens(tmp_path: Path) -> None:
    process = await start("simulator", "--port", "0", "--seed", "1", cwd=tmp_path)
    ready = await line(process, "simulator.ready", stderr=False)
    assert ready["base_url"].startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def test_a_simulator_without_its_settings_says_so() -> None:
    result = await pointsman("simulator", "--faults", "none.json")
    assert result.exit_code == 2
    assert "none.json" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "outcome", "plan"),
    [
        (("--to", "+12025550143", "--text", "x"), "routed", ["sms"]),
        (("--to", "(202) 555-0143", "--region", "us", "--text", "x"), "routed", ["sms"]),
        (("--to", "+12025550143", "--text", "x", "--media", "https://x.test/1.png"), "routed", ["mms", "sms"]),
        (("--to", "+919876543210", "--template", "order_shipped", "--var", "1=Ada"), "routed", ["whatsapp"]),
        (("--to", "+919876543210", "--text", "x"), "rejected", []),
        (("--to", "+12025550143", "--text", "x", "--send-at", "2999-01-01T00:00:00Z"), "deferred", []),
    ],
)
async def test_a_decision_is_made_here_with_the_configured_policy(
    arguments: tuple[str, ...], outcome: str, plan: list[str]
) -> None:
    result = await pointsman("explain", *arguments, "--offline", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    decision = json.loads(result.stdout)
    assert decision["outcome"] == outcome
    assert [step["channel"] for step in decision["plan"]][: len(plan)] == plan


@pytest.mark.parametrize("arguments", [("-",), ("--file", "-"), ("a.json",), ("--file", "a.json")])
async def test_a_notification_is_read_from_a_file_or_stdin(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(NOTIFICATION))
    result = await pointsman("explain", *arguments, "--offline", stdin=json.dumps(NOTIFICATION))
    assert result.exit_code == 0
    assert result.stdout.startswith("routed, policy ")


@pytest.mark.nats
async def test_where_no_router_answers_the_decision_is_made_here(nats_server: EmbeddedNats) -> None:
    for url in (nats_server.url, NOWHERE):
        result = await pointsman("explain", "-", "--nats", url, stdin=json.dumps(NOTIFICATION))
        assert result.exit_code == 0
        assert result.stderr == "no router answers: decided here, knowing nothing about the recipient\n"
        assert result.stdout.startswith("routed, policy ")


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [('version = "1"\n[guards]\nfun = 1\n', "policy.toml:"), (None, "policy.toml cannot be read")],
)
async def test_a_policy_that_cannot_be_used_is_named(policy: str | None, sentence: str, tmp_path: Path) -> None:
    if policy is not None:
        (tmp_path / "policy.toml").write_text(policy)
    (tmp_path / "pointsman.toml").write_text(CONFIG + '\n[policy]\nfile = "policy.toml"\n')
    result = await pointsman("explain", "--to", "+12025550143", "--text", "x", "--offline")
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


async def test_what_breaks_the_contract_is_named_here_too() -> None:
    result = await pointsman("explain", "--to", "12", "--text", "x", "--offline")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: to: not a phone number")

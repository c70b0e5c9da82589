"""The examples, run as their reader runs them: clients that know the contract and nothing else of Pointsman."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from router.demo.stage import Stage

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
#: Seconds that the npm registry gets.
_INSTALL = 90.0
_LIMIT = 20.0


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A NATS server, the simulator and a router, each a process of its own."""
    async with Stage(lambda line: None) as running:
        yield running


async def run(*command: str, cwd: Path, limit: float = _LIMIT, **variables: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=os.environ | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def node_example(tmp_path: Path) -> Path:
    """examples/node with its packages installed; skips where they cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path / "node"
    shutil.copytree(ROOT / "examples" / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", "--fetch-retries=1")
    try:
        status, _, err = await run("npm", "install", *quiet, cwd=folder, limit=_INSTALL)
    except TimeoutError:
        pytest.skip(f"the npm registry did not answer within {_INSTALL:.0f} s")
    if status != 0:
        pytest.skip(f"npm cannot install the packages: {err.strip().splitlines()[-1:]}")
    return folder


@pytest.mark.timeout(180)
async def test_a_node_service_publishes_and_reads_what_became_of_it(node_example: Path, stage: Stage) -> None:
    publish = ("node", "publish.mjs", "order-1", "+12025550123", "Your parcel is on its way.")
    status, out, err = await run(*publish, cwd=node_example, NATS_URL=stage.nats_url)
    assert (status, json.loads(out)) == (0, {"stream": "NOTIFICATIONS", "sequence": 1}), err

    status, out, err = await run("node", "subscribe.mjs", "order-1", cwd=node_example, NATS_URL=stage.nats_url)
    assert status == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert {event["notification_id"] for event in events} == {"order-1"}
    assert events[0] == _event("routed", final=False)
    assert events[-1] == _event("delivered", final=True)
    assert (await stage.accepted())["+12025550123"] == 1


def _event(status: str, *, final: bool) -> Mapping[str, Any]:
    return {"notification_id": "order-1", "status": status, "final": final, "channel": "sms", "reason": None}


async def test_the_python_subscriber_of_the_documentation_reads_every_event(stage: Stage, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "subscribers.md").read_text()
    shown = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert shown is not None
    script = tmp_path / "subscribe.py"
    script.write_text(shown[1].replace("nats://127.0.0.1:4222", stage.nats_url))

    options = ("--nats", stage.nats_url, "--source", "shop", "--id", "order-2", "--to", "+12025550124")
    sent = await run(sys.executable, "-m", "router.cli", "send", *options, "--text", "Hello", "--wait", cwd=tmp_path)
    assert sent[0] == 0, sent

    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-u", str(script), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert reader.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(_LIMIT):
            while not lines or "True" not in lines[-1]:
                lines.append((await reader.stdout.readline()).decode().strip())
                assert lines[-1], "it ended"
    finally:
        reader.kill()
        await reader.communicate()
    assert (lines[0], lines[-1]) == ("order-2 routed False", "order-2 delivered True")

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

from channels.twilio.simulator import NO_DELAYS, Simulator, SimulatorSettings
from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
from router.app import Router
from router.client import Pointsman
from router.demo.stage import Stage
from router.embedded import find_binary
from router.permissions import API
from router.settings import Settings
from tests.integration.harness import ReservedPort, router_settings
from tests.integration.secured import DEPLOY, free_ports

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


#: accounts.conf, without keys: everybody who comes without a name is the service `shop`.
_PERMITTED = """
listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{folder}/store" }}
accounts {{
  POINTSMAN {{
    jetstream: enabled
    users: [ {{ user: router, password: router, include {permissions}/router.conf }} ]
    include {permissions}/exports.conf
  }}
  SHOP {{
    users: [ {{ user: shop, password: shop, include {permissions}/service-shop.conf }} ]
    include {permissions}/imports-shop.conf
  }}
  CRM {{}}
}}
no_auth_user: shop
"""


@pytest.fixture
async def permitted(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a NATS server at which we are `shop` and no more, with a router behind it."""
    (port,) = free_ports(1)
    config = tmp_path / "nats.conf"
    permissions = os.path.relpath(DEPLOY / "permissions", tmp_path)
    config.write_text(_PERMITTED.format(port=port, folder=tmp_path, permissions=permissions))
    server = await asyncio.create_subprocess_exec(find_binary(), "-c", str(config), stderr=asyncio.subprocess.DEVNULL)
    http, listener = ReservedPort(), f"127.0.0.1:{port}"
    try:
        async with Simulator(SimulatorSettings(seed=1, delays=NO_DELAYS)) as simulator:
            environ = {
                "TWILIO_ACCOUNT_SID": DEMO_ACCOUNT_SID,
                "TWILIO_AUTH_TOKEN": DEMO_AUTH_TOKEN,
                "TWILIO_API_BASE_URL": simulator.base_url,
            }
            given = router_settings(f"nats://router:router@{listener}", http.number)
            nats = {**given["nats"], "inbox": "_INBOX_pointsman"}
            router = Router(Settings(**{**given, "nats": nats}), environ)
            try:
                await router.start()
                yield f"nats://{listener}"
            finally:
                await router.stop()
    finally:
        http.close()
        server.terminate()
        await server.wait()


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


@pytest.mark.timeout(180)
async def test_the_node_examples_need_no_more_than_the_permissions_that_are_shipped(
    node_example: Path, permitted: str
) -> None:
    publish = ("node", "publish.mjs", "order-1", "+12025550123", "Your parcel is on its way.")
    status, _, err = await run(*publish, cwd=node_example, NATS_URL=permitted)
    assert status == 0, err
    status, out, err = await run(
        "node", "subscribe.mjs", "order-1", cwd=node_example, NATS_URL=permitted, NATS_JS_API=API
    )
    assert (status, json.loads(out.splitlines()[-1])) == (0, _event("delivered", final=True)), err


def _event(status: str, *, final: bool) -> Mapping[str, Any]:
    return {"notification_id": "order-1", "status": status, "final": final, "channel": "sms", "reason": None}


@pytest.mark.parametrize("number", [0, 1], ids=["with a client of NATS", "with the client of ours"])
async def test_the_python_of_the_documentation_needs_no_more_than_the_permissions_that_are_shipped(
    number: int, permitted: str, tmp_path: Path
) -> None:
    async with Pointsman.connect(permitted, source="shop", api=API) as shop:
        await shop.publish({"id": "order-17", "to": "+12025550123", "content": {"text": "On its way."}})
    # As the table in docs/deployment.md says.
    lines = await _printed(
        number, permitted, tmp_path, {"jetstream()": f'jetstream(prefix="{API}")', '"shop")': f'"shop", api="{API}")'}
    )
    assert (lines[0], lines[-1]) == ("order-17 routed False", "order-17 delivered True")


async def test_the_python_subscriber_of_the_documentation_reads_every_event(stage: Stage, tmp_path: Path) -> None:
    options = ("--nats", stage.nats_url, "--source", "shop", "--id", "order-2", "--to", "+12025550124")
    sent = await run(sys.executable, "-m", "router.cli", "send", *options, "--text", "Hello", "--wait", cwd=tmp_path)
    assert sent[0] == 0, sent

    lines = await _printed(0, stage.nats_url, tmp_path)
    assert (lines[0], lines[-1]) == ("order-2 routed False", "order-2 delivered True")


async def _printed(number: int, nats_url: str, folder: Path, changes: Mapping[str, str] = {}) -> list[str]:
    """What the script of this number in docs/subscribers.md prints, until something is final."""
    page = (ROOT / "docs" / "subscribers.md").read_text()
    shown = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[number]
    for old, new in {"nats://127.0.0.1:4222": nats_url, **changes}.items():
        shown = shown.replace(old, new)
    script = folder / "subscribe.py"
    script.write_text(shown)
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
    return lines

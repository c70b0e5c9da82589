"""What the demo runs on: a NATS server, the simulator and a router, each a process of its own on free ports.

Everything lives in one temporary directory and ends with the stage. The children see no TWILIO_* and POINTSMAN_*
variable and no `.env` of the caller: whatever is configured on this machine, the demo reaches nothing outside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
from router.demo.samples import Sample
from router.embedded import EmbeddedNats, EmbeddedServerError

_READY_WITHIN = 15.0  #: seconds for each process
_STOP_WITHIN = 5.0  #: seconds between SIGTERM and SIGKILL
_POINTSMAN = ("-m", "router.cli")
_CONFIG = Path(__file__).with_name("pointsman.toml")
#: Seconds in each status: quick enough to watch, slow enough to see.
_ACCOUNT = {"seed": 1, "delays": {"queued": 0.1, "sent": 0.3, "delivered": 0.6, "read": 0.8, "jitter": 0.2}}


class DemoError(Exception):
    """The demo could not be run; the message says what to look at."""


class Stage:
    """`async with Stage(say) as stage: ...`; `say` is told, in a line each, what was started."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._stack = AsyncExitStack()
        self._directory = Path(tempfile.mkdtemp(prefix="pointsman-demo-"))
        self.log = self._directory / "demo.log"  #: what router and simulator wrote
        self.nats_url = ""
        self._simulator_url = ""
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Stage:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        self._stack.callback(shutil.rmtree, self._directory, ignore_errors=True)
        self._http = await self._stack.enter_async_context(aiohttp.ClientSession())
        webhooks, admin = free_address(), free_address()
        await self._start_nats()
        await self._start_simulator(webhooks)
        await self._start_router(webhooks, admin)

    async def _start_nats(self) -> None:
        server = EmbeddedNats()
        self._stack.push_async_callback(server.stop)
        try:
            await server.start()
        except EmbeddedServerError as exc:
            raise DemoError(str(exc)) from exc
        self.nats_url = server.url
        self._say(f"started NATS server with JetStream on {server.url}")

    async def _start_simulator(self, webhooks: str) -> None:
        account = self._directory / "account.json"
        account.write_text(json.dumps(_ACCOUNT))
        inbound = f"http://{webhooks}/twilio/inbound"
        options = ["--port", "0", "--settings", str(account), "--inbound-url", inbound]
        child = await self._spawn(
            ["-m", "channels.twilio.simulator", *options], _clean_environment(), output=asyncio.subprocess.PIPE
        )
        self._simulator_url = json.loads(await self._first_line(child))["base_url"]
        self._say(f"started a simulator of Twilio on {self._simulator_url}")

    async def _start_router(self, webhooks: str, admin: str) -> None:
        environment = _clean_environment() | {
            "POINTSMAN_NATS__URL": self.nats_url,
            "POINTSMAN_HTTP__PUBLIC_URL": f"http://{webhooks}",
            "POINTSMAN_HTTP__LISTEN": webhooks,
            "POINTSMAN_HTTP__ADMIN_LISTEN": admin,
            "TWILIO_ACCOUNT_SID": DEMO_ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": DEMO_AUTH_TOKEN,
            "TWILIO_API_BASE_URL": self._simulator_url,
        }
        child = await self._spawn([*_POINTSMAN, "run", "--config", str(_CONFIG)], environment)
        await self._until_ready(child, f"http://{admin}/readyz")
        self._say(f"started a router, its webhooks on http://{webhooks}, its health on http://{admin}/readyz")

    async def _spawn(
        self, arguments: Sequence[str], environment: Mapping[str, str], output: int | None = None
    ) -> asyncio.subprocess.Process:
        """A Python of its own session, so that Ctrl-C reaches the demo alone and it can end everything in order."""
        with self.log.open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                env=dict(environment),
                cwd=self._directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=log,
                start_new_session=True,
            )
        self._stack.push_async_callback(_end, child)
        return child

    async def _first_line(self, child: asyncio.subprocess.Process) -> bytes:
        assert child.stdout is not None
        try:
            async with asyncio.timeout(_READY_WITHIN):
                line = await child.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise DemoError(f"the simulator did not start: {self._last_words()}")
        return line

    async def _until_ready(self, child: asyncio.subprocess.Process, url: str) -> None:
        deadline = asyncio.get_running_loop().time() + _READY_WITHIN
        while asyncio.get_running_loop().time() < deadline:
            if child.returncode is not None:
                break
            if await self._answers(url):
                return
            await asyncio.sleep(0.05)
        raise DemoError(f"the router did not start: {self._last_words()}")

    async def _answers(self, url: str) -> bool:
        try:
            async with self._client.get(url, timeout=aiohttp.ClientTimeout(2)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    def keep_log(self) -> Path:
        """Copy the log to a place that outlives the stage."""
        handle, name = tempfile.mkstemp(prefix="pointsman-demo-", suffix=".log")
        os.close(handle)
        shutil.copyfile(self.log, name)
        return Path(name)

    # --- the world outside, which the simulator plays

    async def recipient_writes(self, sample: Sample) -> None:
        """What the sample says its recipient writes; returns when the router has stored it."""
        assert sample.first is not None
        prefix = "whatsapp:" if sample.first.whatsapp else ""
        message = {"from": prefix + sample.to, "to": prefix + sample.first.to, "body": sample.first.body}
        async with self._client.post(f"{self._simulator_url}/simulator/inbound", json=message) as answer:
            taken = await answer.json()
        if taken.get("status") not in (200, 204):
            raise DemoError(f"the router's webhook did not take a message from a recipient: {self._last_words()}")

    async def accepted(self) -> Counter[str]:
        """Messages that the simulator accepted, by recipient."""
        async with self._client.get(f"{self._simulator_url}/simulator/messages") as answer:
            messages: list[dict[str, Any]] = (await answer.json())["messages"]
        outbound = [message for message in messages if message["direction"] == "outbound-api"]
        return Counter(message["to"].removeprefix("whatsapp:") for message in outbound)

    @property
    def _client(self) -> aiohttp.ClientSession:
        assert self._http is not None, "enter the stage first"
        return self._http


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    with suppress(ProcessLookupError):  # it ended by itself meanwhile
        child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_WITHIN):
                await child.wait()
        except TimeoutError:
            child.kill()
    await child.wait()


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("TWILIO_", "POINTSMAN_"))}


def free_address() -> str:
    """A loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"

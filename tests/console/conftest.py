"""A console as an operator has it: NATS, the simulator and a router as processes, and a headless Chromium in front."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.js import JetStreamContext
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from bench.cluster import Cluster
from channels.testing import PATIENCE

TOKEN = "0123456789abcdef0123"
SENDERS: list[dict[str, Any]] = [
    {"name": "us", "kind": "10dlc", "channels": ["sms", "mms"], "from": "+15017122661", "rate": 50},
    {"name": "wa", "kind": "whatsapp", "channels": ["whatsapp"], "from": "+14155238886", "rate": 50},
]
CONFIG: dict[str, Any] = {
    "senders": SENDERS,
    "templates": {},
    "console": {"enabled": True, "allow_actions": True},
    "dispatch": {"timeout": 1, "lease": 2},
    "reconcile": {"wait": 0.2, "settle": 0.4},
}
SIMULATOR = {"seed": 1, "delays": {"queued": 0, "sent": 0, "delivered": 0.1, "read": 0.1, "jitter": 0}}


def chromium() -> str | None:
    """The system's browser: pip cannot install one."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


class Stack:
    """One router with its console, and what the outside does to it."""

    def __init__(self, cluster: Cluster, js: JetStreamContext, browser: Browser) -> None:
        self.cluster = cluster
        self.js = js
        self.browser = browser
        self.url = f"http://127.0.0.1:{cluster.admin_ports[0]}"

    @property
    def log(self) -> list[dict[str, Any]]:
        """What the router said so far."""
        text = (self.cluster.directory / "router-0.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def said(self, event: str, identity: str) -> dict[str, Any]:
        """The first such line about this notification."""
        return next(line for line in self.log if line["event"] == event and line.get("notification_id") == identity)

    async def publish(self, identity: str, to: str = "+12025550123", source: str = "shop", **fields: Any) -> None:
        body = {"id": identity, "to": to, "content": {"text": f"secret words of {identity}"}, **fields}
        await self.js.publish(f"notifications.normal.{source}", json.dumps(body).encode())

    async def until_stored(self, subject: str, count: int = 1) -> None:
        """Until the log has so many such events."""
        stream = "DEADLETTERS" if subject.startswith("deadletters") else "DELIVERIES"
        async with asyncio.timeout(PATIENCE):
            while True:
                state = (await self.js.stream_info(stream, subjects_filter=subject)).state
                if sum((state.subjects or {}).values()) >= count:
                    return
                await asyncio.sleep(0.05)

    async def context(self, *, logged_in: bool = True, **options: Any) -> BrowserContext:
        context = await self.browser.new_context(**options)
        context.set_default_timeout(PATIENCE * 1000)
        if logged_in:
            page = await context.new_page()
            await page.goto(f"{self.url}/login")
            await page.get_by_label("Token").fill(TOKEN)
            await page.get_by_role("button", name="Log in").click()
            await page.get_by_role("heading", name="Overview").wait_for()
            await page.close()
        return context


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    if (binary := chromium()) is None:
        pytest.skip("no Chromium on this machine: install Debian's package chromium, or name one in CHROMIUM")
    os.environ["POINTSMAN_CONSOLE_TOKEN"] = f"ada={TOKEN}"
    try:
        async with Cluster(config=CONFIG, simulator=SIMULATOR, routers=1) as cluster, async_playwright() as playwright:
            # Without a sandbox of its own: tests run as root in containers.
            browser = await playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
            connection = await nats.connect(cluster.nats_urls)
            yield Stack(cluster, connection.jetstream(), browser)
            await connection.close()
            await browser.close()
            shutil.rmtree(cluster.directory, ignore_errors=True)
    finally:
        del os.environ["POINTSMAN_CONSOLE_TOKEN"]


@pytest_asyncio.fixture(loop_scope="module")
async def page(stack: Stack) -> AsyncIterator[Page]:
    """A page of somebody who is logged in; what the browser complains of fails the test."""
    context = await stack.context()
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield page
    await context.close()
    assert complaints == []


#: A folder for pictures of the pages: for people to look at, and for the docs.
PICTURES = os.environ.get("POINTSMAN_SCREENSHOTS")

Shoot = Callable[[Page, str], Awaitable[None]]


@pytest.fixture
def shoot() -> Shoot:
    """Keeps a picture where `POINTSMAN_SCREENSHOTS` names a folder."""

    async def shoot_page(page: Page, name: str) -> None:
        if PICTURES:
            await page.wait_for_timeout(500)  # what slides in has come
            await page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)

    return shoot_page

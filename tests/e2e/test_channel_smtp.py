"""The example channel, built and installed beside Pointsman as anybody would, used without a change to the core."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import sysconfig
import venv
from collections.abc import AsyncIterator, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler

from router.client import AnswerError, DeliveryEvent, Pointsman
from router.embedded import EmbeddedNats

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "channel-smtp"


class Mailbox(MessageHandler):
    """Keeps what a real mail server was given."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Message] = []

    def handle_message(self, message: Message) -> None:
        self.mails.append(message)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment that holds the two wheels; the libraries they need are lent by this one."""
    folder = tmp_path_factory.mktemp("installed")
    for project in (ROOT, EXAMPLE):
        pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder / "wheels"), str(project))
    venv.create(folder / "venv", with_pip=False)
    installed = folder / "venv" / "bin" / "python"
    site = Path(
        subprocess.run(
            [installed, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    pip("install", "--no-deps", "--target", str(site), *map(str, (folder / "wheels").glob("*.whl")))
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return installed


def pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    """A real SMTP server on loopback."""
    box = Mailbox()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield box, port
    finally:
        controller.stop()


@pytest.fixture
async def router(python: Path, mailbox: tuple[Mailbox, int], tmp_path: Path) -> AsyncIterator[str]:
    """`pointsman run` of the environment with the channel in it; the address of its NATS."""
    async with EmbeddedNats() as nats:
        (tmp_path / "policy.toml").write_text(
            'version = "1"\n[[routes]]\nname = "email"\nwhen = { scheme = "mailto" }\nplan = { channel = "email" }\n'
        )
        (tmp_path / "pointsman.toml").write_text(_configuration(nats.url, mailbox[1]))
        with (tmp_path / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(python, "-m", "router.cli", "run"),
                cwd=tmp_path,
                env={"PATH": os.environ["PATH"]},
                stdout=log,
                stderr=log,
            )
        try:
            yield nats.url
        finally:
            process.terminate()
            status = await process.wait()
            assert status == 0, (tmp_path / "log").read_text()


def _configuration(nats: str, port: int) -> str:
    return f"""
[nats]
url = {json.dumps(nats)}

[http]
admin_listen = "127.0.0.1:0"
listen = "127.0.0.1:0"

[[senders]]
name = "orders"
kind = "address"
channels = ["email"]
from = "orders@shop.example"
rate = 50

[providers.smtp]
host = "127.0.0.1"
port = {port}
tls = "none"
subject = "About your {{category}}"

[policy]
file = "policy.toml"
"""


async def test_a_mail_goes_out_and_its_story_comes_back(router: str, mailbox: tuple[Mailbox, int]) -> None:
    notification: dict[str, Any] = {"id": "m1", "to": "mailto:ann@example.com", "content": {"text": "Grüße, it ships."}}
    async with Pointsman.connect(router, source="shop") as shop:
        await _ready(shop)
        await shop.publish(notification)
        events = [event async for event in _until_final(shop)]
    assert [(event.status, event.channel) for event in events] == [
        ("routed", "email"),
        ("sending", "email"),
        ("sent", "email"),
    ]
    assert (events[-1].reason, events[-1].provider) == ("no_receipt", "smtp")
    (mail,) = mailbox[0].mails
    assert (mail["To"], mail["From"], mail["Subject"]) == (
        "ann@example.com",
        "orders@shop.example",
        "About your transactional",
    )
    body = mail.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert body.decode().strip() == "Grüße, it ships."
    assert mail["Message-ID"] == events[-1].provider_message_id


async def _ready(shop: Pointsman) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await shop.explain({"id": "x", "to": "mailto:ann@example.com", "content": {"text": "x"}})
            except AnswerError:
                await asyncio.sleep(0.1)
            else:
                return


async def _until_final(shop: Pointsman) -> AsyncIterator[DeliveryEvent]:
    async with asyncio.timeout(20):
        async for event in shop.deliveries("shop_events"):
            yield event
            if event.final:
                return

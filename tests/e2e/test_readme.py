"""The README's first five minutes, walked as its reader walks them: its configuration, its commands, its order.

Only the ports are others, so that a Pointsman that runs on this machine is not in the way.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.integration.secured import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.slow]

README = Path(__file__).parents[2] / "README.md"
_BOUND = 60.0  #: seconds that a start or a command may take
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Walk:
    """The steps of the page, and where somebody who takes them stands."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.nats, self.simulator, self.webhooks, self.admin = free_ports(4)
        section = README.read_text().partition("## A first notification in five minutes\n")[2].partition("\n## ")[0]
        found = _BLOCK.findall(section)
        (self.configuration,) = (self._moved(text) for language, text in found if language == "toml")
        self.steps = [self._moved(text) for language, text in found if language == "sh"]
        self.sentences = [self._moved(text) for text in re.findall(r"`(pointsman [^`]+)`", _BLOCK.sub("", section))]
        self._env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "POINTSMAN_NATS__URL": f"nats://127.0.0.1:{self.nats}",
            "POINTSMAN_HTTP__LISTEN": f"127.0.0.1:{self.webhooks}",
            "POINTSMAN_HTTP__ADMIN_LISTEN": f"127.0.0.1:{self.admin}",
        }

    def _moved(self, text: str) -> str:
        """The same at other ports; two commands take theirs from an option that the page has no need of."""
        for there, here in ((8026, self.simulator), (8080, self.webhooks), (9090, self.admin)):
            text = text.replace(f"127.0.0.1:{there}", f"127.0.0.1:{here}")
        text = re.sub(r"^nats-server ", f"nats-server --port {self.nats} ", text, flags=re.MULTILINE)
        return re.sub(r"^pointsman simulator ", f"pointsman simulator --port {self.simulator} ", text, flags=re.M)

    async def _start(self, commands: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("bash", "-euc", commands),
            cwd=self._folder,
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    @asynccontextmanager
    async def terminal(self, commands: str, port: int) -> AsyncIterator[None]:
        """What stays there until Ctrl-C; goes on once it listens."""
        process = await self._start(commands)
        try:
            await self._until(process, port)
            yield
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGINT)
            async with asyncio.timeout(_BOUND):
                await process.communicate()

    async def _until(self, process: asyncio.subprocess.Process, port: int) -> None:
        async with asyncio.timeout(_BOUND):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return
        raise AssertionError((await process.communicate())[0].decode())

    async def run(self, command: str) -> str:
        """A command that ends by itself, and well."""
        process = await self._start(command)
        async with asyncio.timeout(_BOUND):
            out, _ = await process.communicate()
        assert process.returncode == 0, f"{command}\n{out.decode()}"
        return out.decode()

    async def read(self, command: str, awaited: str) -> str:
        """A command that goes on for ever, up to a line that holds this."""
        process, seen = await self._start(command), ""
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_BOUND):
                while awaited not in seen:
                    line = await process.stdout.readline()
                    assert line, f"{command}\n{seen}"
                    seen += line.decode()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGINT)
            await process.communicate()
        return seen


async def ready(port: int) -> None:
    """Until the router is."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(_BOUND):
        while True:
            async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)


async def logged_in(port: int, token: str) -> str:
    """The console's first page, for who has this token."""
    origin = f"http://127.0.0.1:{port}"
    jar = aiohttp.CookieJar(unsafe=True)  # which is aiohttp's word for addresses without a name
    async with (
        aiohttp.ClientSession(cookie_jar=jar, headers={"Accept": "text/html"}) as session,
        session.post(f"{origin}/login?next=/", data={"token": token}, headers={"Origin": origin}) as answer,
    ):
        assert (answer.status, answer.url.path) == (200, "/")
        return await answer.text()


async def test_the_first_five_minutes_of_the_readme(tmp_path: Path) -> None:
    walk = Walk(tmp_path)
    install, nats, simulator, router, commands, answer = walk.steps
    assert install.splitlines()[0] == "make install"  # which is how this test's own environment was made
    (tmp_path / "pointsman.toml").write_text(walk.configuration)
    async with (
        walk.terminal(nats, walk.nats),
        walk.terminal(simulator, walk.simulator),
        walk.terminal(router, walk.admin),
    ):
        await ready(walk.admin)
        assert 'name="token"' not in await logged_in(walk.admin, "change-me-change-me")  # the form that asks for it
        text, template, watch = commands.splitlines()
        told = await walk.run(text)
        assert "delivered" in told
        assert "whatsapp/template" in await walk.run(template)
        seen = await walk.read(watch, "whatsapp/template")
        assert "delivered" in seen

        trace, explain = walk.sentences
        found = re.search(r"shop/(\S+)", told)
        assert found
        assert "delivered" in await walk.run(trace.replace("ID", found[1]))
        assert "sms" in await walk.run(explain)

        await walk.run(answer)
        refused = await walk.run(text.replace("send --source shop", "explain").replace("--wait", ""))
        assert "opted" in refused

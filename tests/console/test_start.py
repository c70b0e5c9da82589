"""Switching the console on: what is missing is said at the start, and off it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from router.app import Router, StartError
from router.settings import Settings
from tests.integration.conftest import Start, start  # noqa: F401 - a fixture
from tests.integration.harness import Harness, router_settings

pytestmark = pytest.mark.nats


@pytest.fixture
async def harness(start: Start) -> Harness:  # noqa: F811 - the fixture of that name
    return await start()


def a_router(harness: Harness, environ: dict[str, str], **console: Any) -> Router:
    sections = {"console": {"enabled": True, **console}}
    settings = Settings(**router_settings(harness.server.url, harness.reserve_port(), **sections))
    return Router(settings, {**harness.environ, **environ})


@pytest.mark.parametrize("token", [{}, {"POINTSMAN_CONSOLE_TOKEN": ""}, {"POINTSMAN_CONSOLE_TOKEN": "ada=short"}])
async def test_without_a_token_it_does_not_start_and_says_which_variable(
    harness: Harness, token: dict[str, str]
) -> None:
    with pytest.raises(StartError, match="POINTSMAN_CONSOLE_TOKEN"):
        await a_router(harness, token).start()


async def test_without_the_extra_the_start_says_what_to_install(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nicegui", None)
    monkeypatch.delitem(sys.modules, "router.console.site", raising=False)
    with pytest.raises(StartError, match=r"pip install 'pointsman\[console\]'"):
        await a_router(harness, {"POINTSMAN_CONSOLE_TOKEN": "ada=" + "a" * 20}).start()


async def test_switched_off_the_address_says_so(harness: Harness) -> None:
    async with harness.http.get(harness.routers[0].admin_url + "/") as response:
        assert (response.status, await response.text()) == (404, "the console is switched off: console.enabled\n")


def test_a_router_without_a_console_or_traces_imports_neither() -> None:
    # FastStream imports the interface of OpenTelemetry by itself, wherever it finds it.
    extras = ("nicegui", "opentelemetry.sdk", "opentelemetry.exporter")
    code = f"import sys, router.app, router.cli.processes; print([n for n in {extras} if n in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"

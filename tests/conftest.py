"""What every test gets: no variables of ours in the environment, logs as structlog ships them, a server on demand."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from hypothesis import settings

from router.embedded import EmbeddedNats

# The contract suite lives outside the tests: its assertions are explained all the same.
pytest.register_assert_rewrite("channels.testing")

# A shared machine pauses whenever it likes: how long one example takes says nothing, and the suite has its own timeout.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` means: three for two cores, since most of the suite waits and does not compute.

    The whole takes 530 seconds of CPU time and 2,180 seconds of tests; four for two cores get in each other's way.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores * 3 // 2)


@pytest.fixture(autouse=True)
def _heard() -> None:
    """The import checker configures logging and silences every logger that it does not know."""
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer's shell configures must not reach a test."""
    for name in [name for name in os.environ if name.startswith(("TWILIO_", "POINTSMAN_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    """A test that configures structlog leaves nothing behind."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
async def nats_server() -> AsyncIterator[EmbeddedNats]:
    """A NATS server with JetStream, empty, for this test alone."""
    async with EmbeddedNats() as server:
        yield server

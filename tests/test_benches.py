"""Every bench runs, with sizes at which its figures mean nothing: what is checked is that it has not rotted."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import all as everything
from bench.contenders import Floor, Pointsman
from bench.latency import moments
from bench.measure import family, percentile, table

ONE = Pointsman().name
OWN = {ONE, Pointsman(1, senders=16).name, Pointsman(2, senders=16).name, Floor.name}

pytestmark = [pytest.mark.slow, pytest.mark.nats, pytest.mark.e2e]


async def run(bench: str, *arguments: str) -> Any:
    """What it printed with `--json`."""
    command = [sys.executable, "-m", f"bench.{bench}", "--json", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)


async def test_throughput_counts_every_notification_once() -> None:
    report = await run("throughput", "--notifications", "50", "--rounds", "1")
    taken, peers = set(report["contenders"]), {"Celery, 2 processes", "Celery, 8 processes"}
    assert taken | set(report["skipped"]) == OWN | peers
    assert taken >= OWN
    for figures in report["contenders"].values():
        assert figures["sent_per_notification"] == 1
        assert figures["per_second"]["median"] > 0
    assert report["machine"]["commit"]


async def test_webhooks_store_what_is_signed_and_refuse_what_is_forged() -> None:
    report = await run("webhooks", "--messages", "40", "--rounds", "1", "--forged", "0.5")
    counts = {share: (figures["stored"], figures["forged"]) for share, figures in report["runs"].items()}
    assert counts == {"0.0": (80, 0), "0.5": (80, 80)}


async def test_latency_is_measured_of_everything_that_was_planned() -> None:
    report = await run("latency", "--capacity", "60", "--rounds", "1", "--seconds", "0.5")
    taken = {(each["what"], each["share_of_capacity"]): each for each in report["figures"]}
    names = {ONE, Floor.name, "webhooks"}
    assert set(taken) == {(name, share) for name in names for share in (0.1, 0.5, 0.8)}
    for share in (0.5, 0.8):
        figures = taken[ONE, share]
        assert figures["samples"] == taken[Floor.name, share]["samples"] > 0
        assert 0 < figures["milliseconds"]["p50"]["median"] <= figures["milliseconds"]["p99"]["median"]


async def test_what_is_known_of_recipients_is_loaded_and_weighed() -> None:
    report = await run("state", "--recipients", "2000")
    figures = report["figures"]
    assert 0 < figures["begun_seconds"] <= figures["loaded_seconds"]
    assert figures["facts_us"] > 0


async def test_startup_is_timed_with_nothing_stored_and_with_recipients() -> None:
    report = await run("startup", "--rounds", "1", "--recipients", "300")
    assert set(report["figures"]) == {
        "pointsman --help",
        "router, nothing stored",
        "router, 300 sessions and opt-outs",
    }
    assert all(figures["seconds"]["median"] > 0 for figures in report["figures"].values())


async def test_a_bench_that_is_stopped_takes_everything_with_it() -> None:
    command = [sys.executable, "-m", "bench.throughput", "--only", "pointsman", "--notifications", "100000"]
    process = await asyncio.create_subprocess_exec(*command)
    children: set[int] = set()
    async with asyncio.timeout(60):
        while len(children) < 3:  # the provider, NATS, a router
            await asyncio.sleep(0.05)
            children |= set(family(process.pid)) - {process.pid}
    process.terminate()
    async with asyncio.timeout(60):
        assert await process.wait() != 0
    async with asyncio.timeout(30):  # whoever inherits them has to notice that they have ended
        while any(Path(f"/proc/{pid}").exists() for pid in children):
            await asyncio.sleep(0.05)


async def test_all_of_them_in_one_run_leave_one_file(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    command = [sys.executable, "-m", "bench.all", "--quick", "--only", "decide", "--output", str(output)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    shown, _ = await process.communicate()
    assert process.returncode == 0
    assert b"text to the United States / microseconds" in shown
    report = json.loads(output.read_text())
    assert report["benches"]["decide"]["figures"]
    assert report["machine"]["commit"]


def test_a_bench_that_fails_is_said_to_have_failed() -> None:
    assert "failed" in everything.run(["scale", "nothing"], within=60)
    assert "longer than" in everything.run(["decide"], within=0.5)["failed"]


@pytest.mark.parametrize(
    ("what", "rows"),
    [("backlog", 2), ("log", 2), ("recipients", 2), ("replicas", 2)],
)
async def test_scale_measures_the_same_before_and_beside(what: str, rows: int) -> None:
    report = await run("scale", what, "--count", "60", "--rounds", "1", "--lap", "40")
    assert len(report["rows"]) >= rows
    assert report["rows"][0].keys() == report["rows"][-1].keys()
    if what == "backlog":
        assert {each["what"]: each["to"] for each in report["rows"]} == dict.fromkeys(
            ("publish", "intake", "dispatch,tracking"), 60
        )


def test_arrivals_come_at_random_and_as_often_as_asked() -> None:
    plan = moments(1000, 10, seed=1)
    assert plan == sorted(plan)
    assert 9_500 < len(plan) < 10_500
    assert plan == moments(1000, 10, seed=1) != moments(1000, 10, seed=2)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_the_smallest_value_that_covers_its_share(share: float, expected: int) -> None:
    assert percentile([float(each) for each in range(100, 0, -1)], share) == expected


def test_a_table_puts_figures_to_the_right() -> None:
    assert (
        table([{"who": "a", "rate": 12345.6}, {"who": "bcd", "rate": 7.0}]) == "who    rate\na    12,346\nbcd    7.00"
    )

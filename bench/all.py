"""Every bench one after the other: `python -m bench.all --quick` prints the tables and writes one JSON file.

Without `--quick` the sizes are those that the README quotes, and it takes hours: for a machine that does nothing else.
A bench that fails is said to have failed; the others run all the same.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.measure import machine, table

#: By name: what is run with `--quick`, and what without.
BENCHES: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "decide": (["decide", "--runs", "3"], ["decide"]),
    "throughput": (["throughput", "--notifications", "4000", "--rounds", "3"], ["throughput"]),
    "latency": (["latency", "--rounds", "2", "--seconds", "4", "--capacity", "3000"], ["latency"]),
    "webhooks": (["webhooks", "--messages", "2000", "--rounds", "2"], ["webhooks"]),
    "startup": (["startup", "--rounds", "3", "--recipients", "100000"], ["startup", "--recipients", "1000000"]),
    "state": (["state"], ["state", "--recipients", "1000000"]),
    "lanes": (["lanes", "--bulk", "5000", "--seconds", "10"], ["lanes"]),
    "deferred": (["deferred", "--count", "20000", "--wave", "2000"], ["deferred", "--count", "1000000"]),
    "scale replicas": (["scale", "replicas", "--count", "2000", "--rounds", "2"], ["scale", "replicas"]),
    "scale backlog": (["scale", "backlog", "--count", "20000"], ["scale", "backlog", "--count", "1000000"]),
    "scale log": (["scale", "log", "--count", "100000"], ["scale", "log", "--count", "1000000"]),
    "scale recipients": (
        ["scale", "recipients", "--count", "100000"],
        ["scale", "recipients", "--count", "1000000"],
    ),
}


def run(arguments: Sequence[str], within: float) -> dict[str, Any]:
    """Its JSON, or why there is none."""
    command = [sys.executable, "-m", f"bench.{arguments[0]}", *arguments[1:], "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, error = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it has processes of its own to stop
        process.communicate()
        return {"failed": f"took longer than {within:.0f} s"}
    if process.returncode:
        return {"failed": (error.strip().splitlines() or [f"exit status {process.returncode}"])[-1]}
    report: dict[str, Any] = json.loads(out)
    return report


def flat(report: object, path: str = "") -> list[dict[str, object]]:
    """Every figure of a report, by where it stands in it; of a spread the median alone."""
    if isinstance(report, dict):
        if "median" in report:
            return [{"figure": path.removesuffix(" / "), "value": report["median"]}]
        return [row for key, value in report.items() if key != "machine" for row in flat(value, f"{path}{key} / ")]
    if isinstance(report, list):
        return [row for index, value in enumerate(report) for row in flat(value, f"{path}{_label(value, index)} / ")]
    if isinstance(report, str) and not path.startswith("failed"):
        return []  # a name, which the path holds already
    return [{"figure": path.removesuffix(" / "), "value": report}]


def _label(value: object, index: int) -> object:
    """A row of a table is called by its first word."""
    first = next(iter(value.values()), index) if isinstance(value, dict) else index
    return first if isinstance(first, str) else index


def main() -> int:
    """Run, print, write; 1 where a bench failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: some twenty minutes on two processors")
    parser.add_argument("--only", action="append", choices=sorted(BENCHES), help="may be given several times")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="default bench.json")
    options = parser.parse_args()
    reports: dict[str, Any] = {}
    for name in options.only or BENCHES:
        quick, whole = BENCHES[name]
        started = time.monotonic()
        reports[name] = run(quick if options.quick else whole, within=900 if options.quick else 4 * 3600)
        print(f"\n{name} ({time.monotonic() - started:.0f} s)\n{table(flat(reports[name]))}", flush=True)
        options.output.write_text(json.dumps({"machine": machine(), "benches": reports}, indent=2))
    return int(any("failed" in report for report in reports.values()))


if __name__ == "__main__":
    sys.exit(main())

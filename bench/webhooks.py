"""Signed callbacks per second, from the request to the stored delivery event, on one router process.

    python -m bench.webhooks
    python -m bench.webhooks --messages 2000 --forged 0.5

Messages are sent first, so that the callbacks are about something. Then "sent" comes for each of them, then
"delivered": all signed, all news, each answered only when its event is stored. In a second run a share of forged ones
is mixed in: refused with 403, stored nowhere. Callbacks are made and signed beforehand; this process posts them and is
not counted.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.callbacks import Callback, Poster, callback
from bench.cluster import Cluster
from bench.contenders import WARM, Pointsman
from bench.measure import Meter, show, spread
from bench.processes import run
from bench.traffic import SUBJECT, JetStreamCourse, bodies, until_finished

_PATIENCE = 300.0  #: seconds


@dataclass(frozen=True, slots=True)
class Run:
    """One run over all messages."""

    stored: int  #: callbacks that became events
    forged: int  #: that were refused
    seconds: float
    router: float  #: seconds of its processor time
    broker: float

    @property
    def rate(self) -> float:
        """Stored events per second."""
        return self.stored / self.seconds

    @property
    def micros(self) -> float:
        """Of the router's processor time for each callback, forged ones included."""
        return self.router / (self.stored + self.forged) * 1e6


async def one_run(messages: int, forged: float) -> Run:
    """From a fresh start."""
    async with Pointsman().arena(record=True) as arena:
        cluster = arena.cluster
        assert cluster is not None
        await arena.course.publish(bodies(warm := min(WARM, messages), "warm"))
        await arena.course.publish(bodies(messages, "n"))
        await until_finished(arena.course, warm + messages, within=_PATIENCE)
        arrivals = await arena.stub.arrivals()
        async with Poster(cluster.webhook_port) as poster:
            await poster.post_all([callback(each, "sent") for each in arrivals[:warm]])
            async with _counting(cluster, "sent") as sent, _counting(cluster, "delivered") as delivered:
                waves = [_wave(arrivals[warm:], status, forged) for status in ("sent", "delivered")]
                poster.answers.clear()
                meter = Meter({"router": arena.pids["workers"], "broker": arena.pids["broker"]})
                seconds = sum([await poster.post_all(wave) for wave in waves])
                taken = meter.taken()
                _check(poster, waves, messages, await sent.finished(), await delivered.finished())
        return Run(2 * messages, poster.answers[403], seconds, taken["router"], taken["broker"])


def _counting(cluster: Cluster, status: str) -> JetStreamCourse:
    """Counts events of this status from now on."""
    return JetStreamCourse(cluster.nats_urls, SUBJECT, "DELIVERIES", f"deliveries.*.{status}.>")


def _wave(arrivals: Sequence[dict[str, Any]], status: str, forged: float) -> list[Callback]:
    """A genuine callback for each message, and forged ones among them so that they make this share of all."""
    count = round(len(arrivals) * forged / (1 - forged))
    wave = [callback(each, status) for each in arrivals]
    wave += [callback(each, status, forged=True) for each in itertools.islice(itertools.cycle(arrivals), count)]
    random.Random(1).shuffle(wave)
    return wave


def _check(poster: Poster, waves: Sequence[Sequence[Callback]], messages: int, *stored: int) -> None:
    """Every genuine one was stored before it was answered, and nothing else was."""
    refused = sum(map(len, waves)) - 2 * messages
    answers = dict(poster.answers)
    if answers != {204: 2 * messages} | ({403: refused} if refused else {}):
        raise AssertionError(f"answers by status: {answers}")
    if stored != (messages, messages):
        raise AssertionError(f"{messages} messages, stored sent and delivered: {stored}")


async def measure(messages: int, rounds: int, shares: Sequence[float]) -> dict[float, list[Run]]:
    """Each share of forged ones once in each round."""
    runs: dict[float, list[Run]] = {share: [] for share in shares}
    for _ in range(rounds):
        for share in shares:
            runs[share].append(await one_run(messages, share))
    return runs


def as_report(runs: dict[float, list[Run]]) -> dict[str, Any]:
    """For `--json`."""
    return {
        "bench": "webhooks",
        "runs": {
            str(share): {
                "stored": each[0].stored,
                "forged": each[0].forged,
                "stored_per_second": spread(one.rate for one in each),
                "router_micros": spread(one.micros for one in each),
                "broker_micros": spread(one.broker / one.stored * 1e6 for one in each),
            }
            for share, each in runs.items()
        },
    }


def rows(runs: dict[float, list[Run]]) -> list[dict[str, object]]:
    """Medians."""
    return [
        {
            "forged share": f"{share:.0%}",
            "stored": each[0].stored,
            "forged": each[0].forged,
            "rounds": len(each),
            "stored per second": statistics.median(one.rate for one in each),
            "router µs a callback": statistics.median(one.micros for one in each),
            "broker µs an event": statistics.median(one.broker / one.stored * 1e6 for one in each),
        }
        for share, each in runs.items()
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5_000, help="each called back about twice (default 5000)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts (default 5)")
    parser.add_argument("--forged", type=float, default=0.2, help="share of the second run (default 0.2)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    runs = run(measure(options.messages, options.rounds, (0.0, options.forged)))
    show(options, as_report(runs), rows(runs))


if __name__ == "__main__":
    main()

"""How long a notification takes to its provider, and a callback to its delivery event, at steady loads.

    python -m bench.latency
    python -m bench.latency --rounds 3 --seconds 4

First the capacity is measured: of one router, and of its webhooks. Then traffic comes at shares of it, at random
moments (a Poisson process) that wait for nobody: what is late counts from the moment for which it was intended, and so
does everything that it delays (no coordinated omission). The bare floor carries the same traffic. Shown are medians of
the rounds; every round is a fresh start, and the contenders take turns. `late` is how far the bench itself was behind
its own plan (p99): it is part of what is shown, and where it is large the machine had too much else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nats
from nats.aio.msg import Msg

from bench.callbacks import Poster, callback, notification_id
from bench.contenders import WARM, Arena, Floor, Pointsman, warm_up, work_off
from bench.measure import percentile, show, spread
from bench.processes import run
from bench.traffic import bodies, until_finished

SHARES = (0.1, 0.5, 0.8)  #: of what was measured as capacity
POINTS = (0.5, 0.95, 0.99)
_PATIENCE = 60.0  #: seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One load on one contender in one round."""

    rate: float  #: offered, per second
    seconds: Sequence[float]  #: of each
    late: float  #: p99 of how far the bench was behind its plan, in seconds

    def millis(self, share: float) -> float:
        """A percentile."""
        return percentile(self.seconds, share) * 1e3


#: By contender (or "webhooks") and share of the capacity: a sample for each round.
Samples = dict[tuple[str, float], list[Sample]]


def moments(rate: float, seconds: float, seed: int) -> list[float]:
    """When each comes, in seconds from the beginning: at random, on average so many a second."""
    draw = random.Random(seed)
    return list(_arrivals(draw, rate, seconds))


def _arrivals(draw: random.Random, rate: float, seconds: float) -> Iterator[float]:
    at = draw.expovariate(rate)
    while at < seconds:
        yield at
        at += draw.expovariate(rate)


async def at_moments(plan: Sequence[float], act: Callable[[int], Awaitable[object]]) -> tuple[list[float], float]:
    """Start each on time, whatever became of those before; intended moments, and p99 of our own delay."""
    beginning = time.monotonic() + 0.05
    intended, delays, tasks = [beginning + at for at in plan], [], []
    for index, moment in enumerate(intended):
        if (wait := moment - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        delays.append(max(0.0, time.monotonic() - moment))
        tasks.append(asyncio.ensure_future(act(index)))
    await asyncio.gather(*tasks)
    return intended, percentile(delays, 0.99)


async def to_provider(arena: Arena, plan: Sequence[float], rate: float, prefix: str) -> tuple[Sample, list[Any]]:
    """From the publication to the provider's request; and the arrivals themselves."""
    await arena.stub.arrivals()  # of before
    wanted, before = bodies(len(plan), prefix), await arena.course.finished()
    intended, late = await at_moments(plan, lambda index: arena.course.publish([wanted[index]]))
    await until_finished(arena.course, before + len(plan), within=_PATIENCE)
    arrivals = await arena.stub.arrivals()
    arrived = {notification_id(each): each["at"] for each in arrivals}
    took = [arrived[f"{prefix}{index}"] - moment for index, moment in enumerate(intended)]
    return Sample(rate, took, late), arrivals


async def to_event(arena: Arena, arrivals: Sequence[Any], plan: Sequence[float], rate: float) -> Sample:
    """From a "delivered" callback to the event that a subscriber receives."""
    assert arena.cluster is not None
    requests = [callback(each, "delivered") for each in arrivals[: len(plan)]]
    plan = plan[: len(requests)]
    received: dict[str, float] = {}

    async def heard(msg: Msg) -> None:
        received[msg.subject.rpartition(".")[2]] = time.monotonic()

    subscriber = await nats.connect(arena.cluster.nats_urls)
    await subscriber.subscribe("deliveries.*.delivered.>", cb=heard)
    await subscriber.flush()
    async with Poster(arena.cluster.webhook_port, connections=64) as poster:
        intended, late = await at_moments(plan, lambda index: poster.post(requests[index]))
    async with asyncio.timeout(_PATIENCE):
        while len(received) < len(requests):
            await asyncio.sleep(0.01)
    await subscriber.close()
    took = [received[request.key] - moment for request, moment in zip(requests, intended, strict=True)]
    return Sample(rate, took, late)


async def capacity(count: int) -> tuple[float, float]:
    """Notifications and callbacks per second of one router, with all of its work before it."""
    async with Pointsman().arena(record=True) as arena:
        assert arena.cluster is not None
        await warm_up(arena, min(WARM, count))
        await arena.stub.arrivals()
        lap = await work_off(arena, bodies(count, "n"))
        requests = [callback(each, "sent") for each in await arena.stub.arrivals()]
        async with Poster(arena.cluster.webhook_port) as poster:
            await poster.post_all(requests[: len(requests) // 4])
            rest = requests[len(requests) // 4 :]
            return lap.rate, len(rest) / await poster.post_all(rest)


async def one_round(samples: Samples, notifications: float, callbacks: float, seconds: float, seed: int) -> None:
    """Every load on both contenders, each from a fresh start."""
    for contender in (Pointsman(), Floor()):
        async with contender.arena(record=True) as arena:
            await warm_up(arena, WARM)
            for share in SHARES:
                plan = moments(notifications * share, seconds, seed)
                prefix = f"s{round(share * 100)}x"
                sample, arrivals = await to_provider(arena, plan, notifications * share, prefix)
                samples.setdefault((contender.name, share), []).append(sample)
                if arena.cluster is not None:
                    plan = moments(callbacks * share, seconds, seed)
                    sample = await to_event(arena, arrivals, plan, callbacks * share)
                    samples.setdefault(("webhooks", share), []).append(sample)


async def measure(count: int, rounds: int, seconds: float) -> tuple[Mapping[str, float], Samples]:
    """The capacities, and all samples."""
    notifications, callbacks = await capacity(count)
    samples: Samples = {}
    for number in range(rounds):
        await one_round(samples, notifications, callbacks, seconds, seed=number)
    return {"notifications": notifications, "callbacks": callbacks}, samples


def rows(samples: Samples) -> list[dict[str, object]]:
    """Medians of the rounds; for the product the floor's p99 beside its own."""
    shown = []
    for (name, share), each in sorted(samples.items()):
        row: dict[str, object] = {
            "what": "callback to event" if name == "webhooks" else f"to the provider: {name}",
            "load": f"{share:.0%}",
            "per second": each[0].rate,
            "rounds": len(each),
        }
        row |= {f"p{point * 100:g} ms": _median(each, point) for point in POINTS}
        floor = samples.get((Floor.name, share))
        beside = _median(each, 0.99) / _median(floor, 0.99) if floor and name != "webhooks" else None
        shown.append({**row, "p99 / floor": "" if beside is None else f"{beside:.2f}", "late ms": _late(each)})
    return shown


def _median(samples: Sequence[Sample], point: float) -> float:
    return statistics.median(sample.millis(point) for sample in samples)


def _late(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.late for sample in samples) * 1e3


def as_report(capacities: Mapping[str, float], samples: Samples) -> dict[str, Any]:
    """For `--json`."""
    figures = [
        {
            "what": name,
            "share_of_capacity": share,
            "offered_per_second": each[0].rate,
            "samples": sum(len(sample.seconds) for sample in each),
            "milliseconds": {f"p{point * 100:g}": spread(one.millis(point) for one in each) for point in POINTS},
            "bench_late_milliseconds": _late(each),
        }
        for (name, share), each in sorted(samples.items())
    ]
    return {"bench": "latency", "capacity_per_second": dict(capacities), "figures": figures}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capacity", type=int, default=5_000, help="notifications to measure it with (default 5000)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts (default 5)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load (default 6)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    capacities, samples = run(measure(options.capacity, options.rounds, options.seconds))
    show(options, as_report(capacities, samples), rows(samples))


if __name__ == "__main__":
    main()

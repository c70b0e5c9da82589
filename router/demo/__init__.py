"""`pointsman demo`: the whole product on this machine, with no account.

A real NATS server, the simulator of the provider and a real router, each a process of its own; the demo itself is what
any service and any subscriber would be: it publishes notifications and reads delivery events.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import nats
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from rich.console import Console

from channels.model import Lane
from router import subjects, topology
from router.demo.samples import SAMPLES, Sample
from router.demo.show import Ending, Show, Summary, show_on
from router.demo.stage import DemoError, Stage
from router.demo.tale import Tale
from router.wire import DeliveryEvent

__all__ = ["DemoError", "run_demo"]

SOURCE = "demo"
#: Seconds that all samples together may take.
_PATIENCE = 20.0
#: Seconds between two samples, so that an onlooker can follow.
_PAUSE = 0.25


async def run_demo(console: Console, *, json_output: bool = False) -> bool:
    """Run every sample and show what happens; True only if each of them ended as it had to.

    Raises `DemoError` when something could not be started. Everything started is stopped and removed, whatever happens.
    """
    started = asyncio.get_running_loop().time()
    tales = [Tale(sample) for sample in SAMPLES]
    show = show_on(console, tales, json_output=json_output)
    with _terminable():
        async with Stage(show.said) as stage:
            with show:
                await _play(stage, tales, show)
            accepted = await stage.accepted()
            endings = [_ending(tale, accepted[tale.sample.to]) for tale in tales]
            log = None if all(ending.ok for ending in endings) else stage.keep_log()
    summary = Summary(endings, asyncio.get_running_loop().time() - started, log)
    show.ended(summary)
    return summary.ok


def _ending(tale: Tale, sent: int) -> Ending:
    return Ending(tale, sent, tale.problems(sent))


async def _play(stage: Stage, tales: Sequence[Tale], show: Show) -> None:
    """Publish everything and listen until every tale is told, or for as long as patience lasts."""
    try:
        async with _connected(stage.nats_url) as js, asyncio.timeout(_PATIENCE):
            all_told = await _listen(js, tales, show)
            for tale in tales:
                await _publish(stage, js, tale.sample)
                await asyncio.sleep(_PAUSE)
            await all_told.wait()
            await _until_nothing_waits(js)
    except TimeoutError:
        show.said(f"waited {_PATIENCE:.0f} s, and not everything ended")
    except NatsError as exc:
        raise DemoError(f"NATS failed: {exc}") from exc


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(url, name="pointsman-demo")
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def _listen(js: JetStreamContext, tales: Sequence[Tale], show: Show) -> asyncio.Event:
    """Follow the delivery events of this source; the event returned is set when every tale is told.

    A JetStream consumer, as for every subscriber: a core subscription would also see events that lost a race and were
    never stored.
    """
    by_id = {tale.sample.id: tale for tale in tales}
    all_told = asyncio.Event()

    async def take(msg: Msg) -> None:
        event = DeliveryEvent.model_validate_json(msg.data)
        tale = by_id[event.notification_id]
        tale.events.append(event)
        show.told(tale)
        if all(each.told for each in tales):
            all_told.set()

    await js.subscribe(f"deliveries.{SOURCE}.>", stream=subjects.DELIVERIES, cb=take, ordered_consumer=True)
    return all_told


async def _publish(stage: Stage, js: JetStreamContext, sample: Sample) -> None:
    """What a service does: one JSON object to `notifications.<lane>.<source>`, and wait until it is stored."""
    if sample.first is not None:
        await stage.recipient_writes(sample)
    body = json.dumps(_notification(sample)).encode()
    for _ in range(sample.publications):
        await js.publish(subjects.notification("normal", SOURCE), body)


def _notification(sample: Sample) -> dict[str, Any]:
    given = {"id": sample.id, "to": sample.to, "content": sample.content, **sample.extra}
    if sample.later:
        given["send_at"] = (datetime.now(UTC) + timedelta(seconds=sample.later)).isoformat()
    return given


async def _until_nothing_waits(js: JetStreamContext) -> None:
    """Until intake has taken every publication, the repeated one too: only then do counts mean anything."""
    while True:
        infos = [await js.consumer_info(subjects.NOTIFICATIONS, topology.intake(lane)) for lane in Lane]
        if not any(info.num_pending or info.num_ack_pending for info in infos):
            return
        await asyncio.sleep(0.05)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that nothing it started is left behind."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        yield
        if terminated:  # a cancellation can be lost in a library on its way; the signal was given all the same
            raise DemoError("ended by SIGTERM")
    except asyncio.CancelledError:
        if terminated:
            raise DemoError("ended by SIGTERM") from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)

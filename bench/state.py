"""What a router knows of its recipients: how long sessions and opt-outs take to load, and what they weigh.

    python -m bench.state --recipients 1000000

In one process, against a NATS server of its own. `begun` is when a router may decide, asking the server for what it
does not hold yet; `loaded` is when it asks for nothing more. Gathering the facts of a recipient is timed in between and
afterwards. Nothing else runs, so a router that works meanwhile loads more slowly.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import nats

from bench.filling import connected, fill_opt_outs, fill_sessions
from bench.measure import memory, show
from bench.traffic import number
from channels.address import parse_recipient
from channels.model import SMS, WHATSAPP, FromNumber, Recipient, Sender, SenderKind
from router import topology
from router.clock import utc_now
from router.consent_ledger import Consent
from router.embedded import EmbeddedNats
from router.hashing import load_hasher
from router.jetstream import JetStream
from router.reach import Reach
from router.recipients import Recipients, Sessions
from router.settings import ReachSettings, SessionSettings, Settings, StickinessSettings
from router.stickiness import Stickiness

SENDER = Sender(
    "whatsapp", SenderKind.WHATSAPP, frozenset({WHATSAPP}), FromNumber("+14155238886"), "US", frozenset(), 80.0
)
_SAMPLES = 2_000


async def opened(js: JetStream) -> Recipients:
    """As the router puts it together."""
    hasher = await load_hasher(js, "", {})
    consent, sessions = Consent(js, "", hasher), Sessions(js, "", hasher, SessionSettings(), utc_now)
    reach = Reach(js, "", hasher, (SMS, WHATSAPP), ReachSettings(), utc_now)
    return Recipients(consent, sessions, reach, Stickiness(js, "", hasher, (), StickinessSettings(), utc_now), [SENDER])


def somebody() -> Iterator[Recipient]:
    """Recipients of notifications, none of whom said anything: nearly always it is so."""
    return (parse_recipient(number(index)) for index in range(_SAMPLES))


async def gathered(recipients: Recipients, within: float) -> list[float]:
    """Microseconds for the facts of each recipient, one after the other, for no longer than so many seconds."""
    taken, end = [], time.perf_counter() + within
    for recipient in somebody():
        began = time.perf_counter()
        if not recipients.is_current:
            await recipients.refresh(recipient)
        recipients.facts(recipient)
        taken.append((time.perf_counter() - began) * 1e6)
        if time.perf_counter() > end:
            break
    return taken


@asynccontextmanager
async def filled(recipients: int) -> Any:
    """A server that holds so many sessions and so many opt-outs."""
    async with EmbeddedNats() as server:
        client = await nats.connect(server.url)
        js = JetStream(client, timeout=30)
        await js.start()
        await topology.provision(js, Settings())
        await load_hasher(js, "", {})
        async with connected([server.url]) as filling:
            await fill_sessions(filling, SENDER.name, recipients)
            await fill_opt_outs(filling, recipients)
        yield js
        await js.stop()
        await client.close()


async def measure(count: int) -> dict[str, float]:
    """Everything in one run: what a run takes is loading, and that once."""
    async with filled(count) as js:
        before, began = memory(os.getpid()), time.perf_counter()
        recipients = await opened(js)
        mirrors = (recipients.consent.mirror, recipients.sessions.mirror)
        for mirror in mirrors:
            await mirror.start(wait=False)
        begun = time.perf_counter() - began
        while_loading = await gathered(recipients, within=1.0) if not recipients.is_current else []
        while not recipients.is_current:
            await asyncio.sleep(0.01)
        loaded = time.perf_counter() - began
        weight = (memory(os.getpid()) - before) / (2 * count)
        afterwards = await gathered(recipients, within=10.0)
        if [len(mirror) for mirror in mirrors] != [count, count]:
            raise AssertionError("not everything was loaded")
        for mirror in mirrors:
            await mirror.stop()
    return {
        "begun_seconds": begun,
        "loaded_seconds": loaded,
        "bytes_per_entry": weight,
        "facts_while_loading_us": statistics.median(while_loading) if while_loading else 0.0,
        "facts_us": statistics.median(afterwards),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipients", type=int, default=100_000, help="sessions, and as many opt-outs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.recipients))
    report = {"bench": "state", "recipients": options.recipients, "figures": figures}
    show(options, report, [{"what": name, "value": value} for name, value in figures.items()])


if __name__ == "__main__":
    main()

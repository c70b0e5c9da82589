"""The simulator as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from channels.twilio.simulator.settings import SimulatorSettings
from channels.twilio.simulator.simulator import Simulator


async def run(settings: SimulatorSettings, host: str = "127.0.0.1", port: int = 0) -> None:
    """Serve until SIGTERM or SIGINT. Prints one JSON line once it listens. OSError when the port is taken."""
    simulator = Simulator(settings)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    await simulator.start(host, port)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    sys.stdout.write(json.dumps({"event": "simulator.ready", "base_url": simulator.base_url}) + "\n")
    sys.stdout.flush()
    try:
        await stopped.wait()
    finally:
        await simulator.stop()

"""A router in a process of its own: `python -m tests.e2e.run_router settings.json`. Drains and ends on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from router.app import Router
from router.settings import Settings


async def _run(file: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    router = Router(Settings(**json.loads(file.read_text())), os.environ)
    await router.start()
    sys.stdout.write(f"ready {router.instance}\n")
    sys.stdout.flush()
    await stop.wait()
    await router.stop()


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1])))

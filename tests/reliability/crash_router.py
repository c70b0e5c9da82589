"""A router that kills itself: `python -m tests.reliability.crash_router settings.json POINT NTH ROLES`.

Started as `pointsman run` starts one, but for the hook, which sends SIGKILL to its own process the NTH time that the
named crash point is reached. ROLES is a list with commas.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from router import crashpoints
from router.app import Router
from router.crashpoints import CrashPoint
from router.settings import Settings


def _die_at(point: CrashPoint, nth: int) -> None:
    left = nth

    def hook(reached: CrashPoint) -> None:
        nonlocal left
        left -= reached is point
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    crashpoints.install(hook)


async def _run(file: Path, roles: frozenset[str]) -> None:
    router = Router(Settings(**json.loads(file.read_text())), os.environ, roles)
    await router.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    _die_at(CrashPoint(sys.argv[2]), int(sys.argv[3]))
    asyncio.run(_run(Path(sys.argv[1]), frozenset(sys.argv[4].split(","))))

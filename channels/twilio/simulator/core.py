"""What every part of the simulator shares: settings, time, chance, faults and counts."""

from __future__ import annotations

from collections import Counter
from random import Random

from channels.twilio.simulator.clock import Agenda, Clock
from channels.twilio.simulator.faults import FaultPlan
from channels.twilio.simulator.settings import SimulatorSettings


class Core:
    """Made anew at each reset, so that a seeded simulator starts over exactly."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.agenda = Agenda(self.clock)
        self.counts: Counter[str] = Counter()
        # One source of chance for each concern: what one draws does not shift what another gets.
        seeds = Random(settings.seed)  # noqa: S311 - repeatable on purpose, nothing secret depends on it
        self._sids, self.delay_random, fault_random, self.callback_random = (
            Random(seeds.getrandbits(64))  # noqa: S311 - likewise
            for _ in range(4)
        )
        self.plan = FaultPlan(settings.faults, fault_random)

    def new_sid(self, prefix: str) -> str:
        """`SM`, `MM`, `RQ`... and 32 hexadecimal digits."""
        return f"{prefix}{self._sids.getrandbits(128):032x}"

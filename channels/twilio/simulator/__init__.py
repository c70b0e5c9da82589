"""A Twilio of our own, to try everything with no account: its API, its callbacks, its rules and its faults.

    async with Simulator(SimulatorSettings(seed=1)) as simulator:
        client.api.base_url = simulator.base_url

It is a stand-in built from Twilio's documentation, and answers nobody but a local process.
"""

from channels.twilio.simulator.content import ContentTemplate
from channels.twilio.simulator.faults import Faults
from channels.twilio.simulator.inbound import ButtonPress, Inbound, InboundAnswer, MediaItem
from channels.twilio.simulator.messages import TwilioMessage
from channels.twilio.simulator.process import run
from channels.twilio.simulator.settings import NO_DELAYS, Delays, SimulatorSettings
from channels.twilio.simulator.simulator import Simulator

__all__ = [
    "NO_DELAYS",
    "ButtonPress",
    "ContentTemplate",
    "Delays",
    "Faults",
    "Inbound",
    "InboundAnswer",
    "MediaItem",
    "Simulator",
    "SimulatorSettings",
    "TwilioMessage",
    "run",
]

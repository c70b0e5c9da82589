from __future__ import annotations

import subprocess
import sys

import pytest

from channels import model
from channels.port import ChannelPlugin, ProviderContext
from channels.twilio import MMS, SMS, WHATSAPP
from channels.twilio.webhooks import TwilioWebhooks


@pytest.mark.parametrize("plugin", [SMS, MMS, WHATSAPP], ids=lambda plugin: plugin.name)
def test_a_plugin_opens_its_webhooks(plugin: ChannelPlugin) -> None:
    assert plugin.webhooks is not None
    context = ProviderContext({"TWILIO_AUTH_TOKEN": "t"}, "https://h")
    assert isinstance(plugin.webhooks(context), TwilioWebhooks)


def test_the_capabilities() -> None:
    shown = [
        (p.name, p.provider, set(p.capabilities.schemes), p.capabilities.max_media, p.capabilities.needs_session)
        for p in (SMS, MMS, WHATSAPP)
    ]
    assert shown == [
        (model.SMS, "twilio", {"tel"}, 0, False),
        (model.MMS, "twilio", {"tel"}, 10, False),
        (model.WHATSAPP, "twilio", {"tel", "whatsapp"}, 1, True),
    ]
    assert all(p.capabilities.template and p.capabilities.text for p in (SMS, MMS, WHATSAPP))


def test_finding_the_plugins_does_not_import_the_sdk() -> None:
    check = "import sys, channels.twilio; sys.exit('twilio' in sys.modules or 'aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0

"""Which provider's channel carries a sender, and what a channel of several providers can."""

from __future__ import annotations

from dataclasses import replace

import pytest

from channels.memory import MEMORY_SMS
from channels.model import MMS, SMS, WHATSAPP, ChannelCapabilities, ChannelName
from channels.port import ChannelPlugin
from channels.registry import Installed, PluginError, common, discover
from tests.factories import US_MAIN, WA_MAIN

SMS_ONLY = replace(US_MAIN, channels=frozenset({SMS}))


def plugin(name: ChannelName, provider: str, **can: object) -> ChannelPlugin:
    capabilities = replace(ChannelCapabilities(schemes=frozenset({"tel"})), **can)  # type: ignore[arg-type]  # any field
    return replace(MEMORY_SMS, name=name, provider=provider, capabilities=capabilities)


def providers(installed: Installed, **changes: object) -> set[str]:
    return {each.provider for each in installed.of(replace(SMS_ONLY, **changes)).values()}  # type: ignore[arg-type]  # any field


def test_two_providers_of_sms_come_along() -> None:
    found = [(each.name, each.provider) for each in discover().plugins if each.provider in {"twilio", "memory"}]

    assert sorted(found) == [("mms", "twilio"), ("sms", "memory"), ("sms", "twilio"), ("whatsapp", "twilio")]
    assert {"mms", "sms", "whatsapp"} <= set(discover().names)


def test_a_sender_that_names_no_provider_is_twilios_where_twilio_could_carry_it() -> None:
    assert providers(discover()) == {"twilio"}
    assert providers(discover(), provider="memory") == {"memory"}
    assert set(discover().of(WA_MAIN)) == set(WA_MAIN.channels)


def test_without_twilio_it_is_the_only_one_or_has_to_be_named() -> None:
    one, other = plugin(SMS, "one"), plugin(SMS, "other")

    assert providers(Installed((one, plugin(MMS, "mail")))) == {"one"}
    assert providers(Installed((one, other)), provider="other") == {"other"}
    with pytest.raises(PluginError, match="'us-main': give it a provider, because several offer it: one, other"):
        providers(Installed((one, other)))


def test_all_of_a_senders_channels_are_of_one_provider() -> None:
    with pytest.raises(PluginError, match="'us-main': no one provider offers mms and sms"):
        Installed((plugin(SMS, "one"), plugin(MMS, "other"))).of(US_MAIN)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"channels": frozenset({"pigeon"})}, "no channel 'pigeon' is installed \\(there are sms\\)"),
        ({"provider": "nobody"}, "no provider 'nobody' offers sms \\(there is one\\)"),
    ],
)
def test_what_cannot_be_found_is_named(changes: dict[str, object], says: str) -> None:
    with pytest.raises(PluginError, match=says):
        providers(Installed((plugin(SMS, "one"),)), **changes)


def test_a_channel_of_several_providers_can_what_all_of_those_in_use_can() -> None:
    us, canada = frozenset({"US"}), frozenset({"CA"})
    rich = plugin(SMS, "twilio", template=True, max_media=3, read_receipts=True, media_countries=us | canada)
    poor = plugin(SMS, "other", max_text=160, max_media=1, media_countries=us)
    installed = Installed((rich, poor))

    assert installed.capabilities(()) == {SMS: rich.capabilities}
    assert installed.capabilities([SMS_ONLY]) == {SMS: rich.capabilities}
    assert installed.capabilities([replace(SMS_ONLY, provider="other")]) == {SMS: poor.capabilities}
    both = installed.capabilities([SMS_ONLY, replace(SMS_ONLY, name="backup", provider="other")])[SMS]
    assert (both.template, both.read_receipts, both.max_text, both.max_media) == (False, False, 160, 1)
    assert both.media_countries == us


def test_what_one_of_two_needs_both_need() -> None:
    free = ChannelCapabilities(schemes=frozenset({"tel", "mailto"}))
    strict = replace(free, schemes=frozenset({"tel"}), needs_session=True, approves_templates=True)

    assert common(free, strict) == common(strict, free) == strict


def test_a_channel_that_no_sender_carries_is_known_all_the_same() -> None:
    assert set(Installed((plugin(SMS, "one"), plugin(WHATSAPP, "two"))).capabilities([SMS_ONLY])) == {SMS, WHATSAPP}

"""What the doctor asks Twilio, by the real SDK from the simulator: nothing is ok that nobody looked at."""

from __future__ import annotations

from typing import Any

import pytest

from channels.model import MMS, SMS, WHATSAPP, ChannelName, FromNumber, MessagingService, Sender, SenderKind
from channels.port import Finding, Level, ProviderContext
from channels.twilio import SMS as PLUGIN
from channels.twilio.simulator import Simulator, SimulatorSettings
from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN

PUBLIC_URL = "http://127.0.0.1:9"  # nobody listens: the round trip fails at once
HERE = f"{PUBLIC_URL}/twilio/inbound#rc=5&rp=all"
ELSEWHERE = "https://elsewhere.example/in"
SERVICE = "MG" + "0" * 31 + "1"
US, UK, FREE, SHORT, WA = "+15017122661", "+447700900000", "+18005550100", "894546", "+14155238886"


def a_sender(name: str, kind: SenderKind, address: str, *channels: ChannelName, countries: str = "") -> Sender:
    return Sender(
        name=name,
        kind=kind,
        channels=frozenset(channels or {SMS}),
        origin=MessagingService(address) if address.startswith("MG") else FromNumber(address),
        country=None,
        countries=frozenset(countries.split()),
        rate=1.0,
    )


SENDERS = [
    a_sender("us", SenderKind.TEN_DLC, US, SMS, MMS, countries="US CA"),
    a_sender("uk", SenderKind.LONG_CODE, UK, countries="GB"),
    a_sender("free", SenderKind.TOLL_FREE, FREE, countries="US"),
    a_sender("short", SenderKind.SHORT_CODE, SHORT, countries="US"),
    a_sender("alpha", SenderKind.ALPHANUMERIC, "ACME", countries="DE"),
    a_sender("pool", SenderKind.MESSAGING_SERVICE, SERVICE),
    a_sender("wa", SenderKind.WHATSAPP, WA, WHATSAPP, countries="BR"),
]


async def findings(public_url: str | None = PUBLIC_URL, **simulator: Any) -> dict[str, Finding]:
    given = {"inbound_url": HERE, "services": {SERVICE: (US, SHORT)}} | simulator
    async with Simulator(SimulatorSettings(seed=1, **given)) as twilio:
        environ = {
            "TWILIO_ACCOUNT_SID": DEMO_ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": DEMO_AUTH_TOKEN,
            "TWILIO_API_BASE_URL": twilio.base_url,
        }
        context = ProviderContext(environ, public_url, timeout=2.0)
        try:
            assert PLUGIN.inspect is not None
            return {each.what: each async for each in PLUGIN.inspect(context, SENDERS)}
        finally:
            await context.aclose()


async def test_an_account_in_order_is_ok_in_every_line_that_can_be_asked() -> None:
    found = await findings()
    assert {what for what, each in found.items() if each.level is not Level.OK} == {
        "sender alpha: alphanumeric id",  # which no API shows
        "webhooks: round trip",  # which has no router here
    }
    for sender in SENDERS:
        assert any(what.startswith(f"sender {sender.name}: ") for what in found), sender.name
    assert "no API" in found["sender alpha: alphanumeric id"].says


@pytest.mark.parametrize(
    ("simulator", "what", "level", "says"),
    [
        # A service answers for its numbers, whatever is entered at them, unless it leaves it to them.
        ({"service_urls": {SERVICE: ELSEWHERE}}, "sender us: inbound webhook", Level.WARNING, "go elsewhere"),
        ({"service_urls": {SERVICE: None}}, "sender us: inbound webhook", Level.WARNING, "no webhook is set"),
        ({"service_urls": {SERVICE: ELSEWHERE}}, "sender short: inbound webhook", Level.WARNING, "go elsewhere"),
        ({"service_urls": {SERVICE: ELSEWHERE}}, "sender pool: inbound webhook", Level.WARNING, "go elsewhere"),
        ({"service_urls": {SERVICE: ELSEWHERE}}, "sender uk: inbound webhook", Level.OK, ""),
        ({"inbound_url": None, "service_urls": {SERVICE: HERE}}, "sender us: inbound webhook", Level.OK, ""),
        ({"inbound_urls": {US: ELSEWHERE}}, "sender pool: inbound webhook", Level.WARNING, US),
        # A TwiML application answers instead of the number's own webhook.
        ({"applications": {UK: ELSEWHERE}}, "sender uk: inbound webhook", Level.WARNING, "TwiML application AP"),
        ({"applications": {UK: HERE}, "inbound_urls": {UK: ELSEWHERE}}, "sender uk: inbound webhook", Level.OK, ""),
        ({"inbound_method": "GET"}, "sender uk: inbound webhook", Level.WARNING, "by GET"),
        ({"inbound_method": "GET"}, "sender short: inbound webhook", Level.WARNING, "by GET"),
        ({"inbound_method": "GET"}, "sender wa: inbound webhook", Level.WARNING, "by GET"),
        ({"inbound_urls": {f"whatsapp:{WA}": ELSEWHERE}}, "sender wa: inbound webhook", Level.WARNING, "go elsewhere"),
        (
            {"services": {SERVICE: (f"whatsapp:{WA}",)}, "service_urls": {SERVICE: ELSEWHERE}},
            "sender wa: inbound webhook",
            Level.WARNING,
            "the Messaging Service",
        ),
        ({"services": {SERVICE: (SHORT,)}}, "sender pool: service", Level.OK, "has 1 short code"),
        ({"services": {SERVICE: (US, UK, "ACME")}}, "sender pool: service", Level.OK, "2 numbers, 1 alphanumeric id"),
        ({"services": {SERVICE: ("ACME", SHORT)}}, "sender pool: campaign", Level.OK, "none of its senders"),
        ({"services": {SERVICE: ("ACME",)}}, "sender pool: inbound webhook", Level.WARNING, "nothing in it"),
        ({"services": {SERVICE: ()}}, "sender pool: service", Level.FAILURE, "no senders"),
        ({"campaign_status": "PENDING"}, "sender pool: campaign", Level.FAILURE, "PENDING"),
        (
            {"services": {SERVICE: (FREE,)}, "toll_free_status": "IN_REVIEW"},
            "sender pool: verification",
            Level.FAILURE,
            f"that of {FREE} is IN_REVIEW",
        ),
        ({"owned": frozenset({US})}, "sender short: short code", Level.FAILURE, "does not own"),
    ],
)
async def test_a_sender_s_surroundings_are_looked_at(
    simulator: dict[str, Any], what: str, level: Level, says: str
) -> None:
    finding = (await findings(**simulator))[what]
    assert (finding.level, says in finding.says) == (level, True), finding


@pytest.mark.parametrize(
    ("overrides", "level"),
    [
        ("#rc=5&rp=all", Level.OK),
        ("#rp=5xx,rt", Level.OK),
        ("", Level.WARNING),
        ("#rc=5", Level.WARNING),  # only after a failed connection, which is the default policy
        ("#rc=0&rp=all", Level.WARNING),
        ("#rc=3&rp=4xx", Level.WARNING),
    ],
)
@pytest.mark.parametrize("service", [{}, {SERVICE: True}])
async def test_a_webhook_whose_overrides_repeat_nothing_is_named(
    overrides: str, level: Level, service: dict[str, bool]
) -> None:
    url = f"{PUBLIC_URL}/twilio/inbound{overrides}"
    found = await findings(inbound_url=url, service_urls=dict.fromkeys(service, url))
    lines = {each.level for what, each in found.items() if what.endswith("inbound webhook")}
    assert lines == {level}


async def test_without_a_public_url_no_sender_is_said_to_be_heard() -> None:
    found = await findings(public_url=None)
    lines = {what: each.level for what, each in found.items() if what.endswith("inbound webhook")}
    assert len(lines) == len(SENDERS) - 1  # an alphanumeric id is never written to
    assert set(lines.values()) == {Level.WARNING}


async def test_each_country_of_an_sms_sender_has_a_line_on_its_geo_permission() -> None:
    found = await findings(blocked_countries=frozenset({"GB"}))
    levels = {what: each.level for what, each in found.items() if what.startswith("geo permissions: ")}
    allowed = dict.fromkeys((f"geo permissions: {country}" for country in ("CA", "DE", "US")), Level.OK)
    assert levels == allowed | {"geo permissions: GB": Level.FAILURE}  # BR is reached by WhatsApp alone


async def test_where_the_api_does_not_show_geo_permissions_the_console_does() -> None:
    found = await findings(shows_geo_permissions=False)
    finding = found["geo permissions: GB"]
    assert (finding.level, "console" in finding.todo) == (Level.WARNING, True)

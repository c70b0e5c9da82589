"""Values with good defaults, so that a test says only what it is about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from channels.address import parse_recipient
from channels.model import (
    MMS,
    SMS,
    WHATSAPP,
    Category,
    ChannelCapabilities,
    ChannelName,
    FromNumber,
    Handle,
    Lane,
    PhoneNumber,
    Recipient,
    Sender,
    SenderKind,
)
from policies.model import OptIn, OptOut, RecipientFacts, RoutingRequest
from policies.world import TemplateEntry, World

#: The moment at which tests happen.
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

#: A possible number in each country that tests speak of. +1 876 is Jamaica, +1 809 the Dominican Republic.
NUMBERS = {
    "US": "+12025550143",
    "CA": "+14165550143",
    "JM": "+18765550143",
    "DO": "+18095550143",
    "IN": "+919876543210",
    "BR": "+5511961234567",
    "DE": "+4915112345678",
    "GB": "+447400123456",
}

#: What the built-in channels can express.
CAPABILITIES = {
    SMS: ChannelCapabilities(schemes=frozenset({"tel"}), template=True),
    MMS: ChannelCapabilities(
        schemes=frozenset({"tel"}), template=True, max_media=10, media_countries=frozenset({"US", "CA"})
    ),
    WHATSAPP: ChannelCapabilities(
        schemes=frozenset({"tel", "whatsapp"}), template=True, max_media=1, needs_session=True, read_receipts=True
    ),
}

ORDER_SHIPPED = TemplateEntry("order_shipped", "utility", {"en": "HXen", "es": "HXes", "pt_BR": "HXptBR"})


def a_recipient(country: str = "US") -> Recipient:
    """A phone number of this country."""
    recipient = parse_recipient(NUMBERS[country])
    assert isinstance(recipient, PhoneNumber)
    assert recipient.country == country
    return recipient


def a_handle(country: str | None = "GB", scheme: str = "whatsapp") -> Handle:
    """An address that is no phone number."""
    return Handle(scheme, f"{country}.13491208655302741918", country)


def a_request(country: str = "US", **changes: Any) -> RoutingRequest:
    """A text to a phone number, unless told otherwise."""
    values: dict[str, Any] = {
        "source": "shop",
        "lane": Lane.NORMAL,
        "recipient": a_recipient(country),
        "text": "Your order is on its way.",
    }
    return RoutingRequest(**(values | changes))


def facts(opt_outs: tuple[str, ...] = (), opt_ins: tuple[str, ...] = (), **changes: Any) -> RecipientFacts:
    """Nothing is known, unless told otherwise; opt-outs and opt-ins by scope."""
    return RecipientFacts(
        opt_outs=tuple(OptOut(scope, NOW, "keyword") for scope in opt_outs),
        opt_ins=tuple(OptIn(scope, NOW) for scope in opt_ins),
        **changes,
    )


def a_sender(name: str, kind: SenderKind, *channels: ChannelName, **changes: Any) -> Sender:
    """A sender with a number in the United States, unless told otherwise."""
    values: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "channels": frozenset(channels),
        "origin": FromNumber("+15017122661"),
        "country": "US",
        "countries": frozenset(),
        "rate": 10.0,
    }
    return Sender(**(values | changes))


US_MAIN = a_sender("us-main", SenderKind.TEN_DLC, SMS, MMS, countries=frozenset({"US", "CA"}))
WORLD_SMS = a_sender("gb-sms", SenderKind.LONG_CODE, SMS, origin=FromNumber("+447400123456"), country="GB")
WA_MAIN = a_sender("wa-main", SenderKind.WHATSAPP, WHATSAPP, rate=80.0)


def a_world(*senders: Sender, **changes: Any) -> World:
    """The built-in channels with a sender for each, unless told otherwise."""
    values: dict[str, Any] = {
        "senders": senders or (US_MAIN, WORLD_SMS, WA_MAIN),
        "channels": CAPABILITIES,
        "templates": {"order_shipped": ORDER_SHIPPED},
    }
    return World(**(values | changes))


#: Every category, for tests that go through all of them.
CATEGORIES = tuple(Category)

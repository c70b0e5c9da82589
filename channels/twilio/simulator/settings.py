"""What the simulated account looks like: one value, checked when it is made.

Durations are in seconds, rates per second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from channels.twilio.simulator.content import ContentTemplate
from channels.twilio.simulator.faults import Faults, Share

#: Fake on purpose, and the same everywhere: they open nothing but a simulator.
DEMO_ACCOUNT_SID = "AC" + "0123456789abcdef" * 2
DEMO_AUTH_TOKEN = "simulator" + "0" * 23


class Delays(BaseModel):
    """How long a message stays in each status, in seconds; Twilio's own are of this order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queued: float = Field(0.1, ge=0)  #: accepted by a Messaging Service -> queued on one of its senders
    sent: float = Field(0.3, ge=0)  #: out of the sender's queue -> handed to the carrier, or failed
    delivered: float = Field(1.0, ge=0)  #: sent -> delivered or undelivered
    read: float = Field(3.0, ge=0)  #: delivered -> read, on WhatsApp
    jitter: Share = 0.2  #: each delay is stretched or shortened by up to this share


NO_DELAYS = Delays(queued=0, sent=0, delivered=0, read=0, jitter=0)


class SimulatorSettings(BaseModel):
    """The simulated account. The defaults take any sender, any recipient and any template."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    account_sid: str = Field(DEMO_ACCOUNT_SID, pattern=r"^AC[0-9a-f]{32}$")
    auth_token: str = Field(DEMO_AUTH_TOKEN, repr=False)  #: basic auth, and the key that webhooks are signed with
    api_keys: Mapping[str, str] = Field(default_factory=dict, repr=False)  #: API key SID -> secret

    inbound_url: str | None = None  #: where inbound messages go; None: nowhere
    inbound_urls: Mapping[str, str] = Field(default_factory=dict)  #: the same, for one sender
    #: The same, for the TwiML application that a number names instead of a webhook of its own.
    applications: Mapping[str, str] = Field(default_factory=dict)
    #: The same, for a Messaging Service; one that is not named leaves it to its numbers.
    service_urls: Mapping[str, str | None] = Field(default_factory=dict)
    inbound_method: Literal["POST", "GET"] = "POST"  #: how an inbound webhook is called

    owned: frozenset[str] | None = None  #: senders of this account, as `From` writes them; None: every valid one
    services: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)  #: Messaging Service SID -> its senders
    #: Senders of a Messaging Service when none is configured.
    default_pool: tuple[str, ...] = ("+15017122661", "whatsapp:+15017122661")
    templates: tuple[ContentTemplate, ...] = ()  #: none: every well-formed ContentSid is an approved template
    blocked_countries: frozenset[str] = frozenset()  #: geo permissions that are off, ISO 3166-1 alpha-2
    shows_geo_permissions: bool = True  #: False: to these credentials the API does not, and answers 404
    campaign_status: str = "VERIFIED"  #: of every A2P 10DLC campaign
    toll_free_status: str = "TWILIO_APPROVED"  #: of every toll-free verification
    advanced_opt_out: bool = False  #: inbound keywords carry OptOutType

    rates: Mapping[str, PositiveFloat] = Field(default_factory=dict)  #: segments (WhatsApp: messages) of one sender
    default_rate: PositiveFloat | None = None  #: of every other sender; None: unlimited
    queue_seconds: PositiveFloat = 36_000  #: a sender's queue is full when it holds this long of its rate
    max_concurrency: PositiveInt | None = None  #: API requests at a time, beyond which 20429; None: unlimited

    delays: Delays = Delays()
    read_receipts: bool = True  #: WhatsApp recipients have read receipts on
    sending_share: Share = 0.0  #: messages that show the rare status `sending`

    callback_workers: PositiveInt = 64  #: callbacks under way at a time
    retry_pause: float = Field(0.2, ge=0)  #: before a callback's first retry; doubles with each
    max_messages: PositiveInt = 200_000  #: messages kept; the oldest are forgotten first
    seed: int | None = None  #: makes SIDs, faults and delays repeatable; None: different each time
    faults: Faults = Faults()  #: at start and after a reset

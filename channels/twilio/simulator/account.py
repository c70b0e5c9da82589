"""What the account owns, as far as somebody asks before sending: numbers, services, registrations, WhatsApp senders.

Every valid number is owned where the settings name none, as everywhere in the simulator; registrations are approved
unless the settings say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import md5
from typing import Any

from channels.twilio.simulator.messages import API_VERSION, WHATSAPP_PREFIX
from channels.twilio.simulator.settings import SimulatorSettings
from channels.twilio.simulator.world import SHORT_CODE

#: Twilio's sandbox sender, which examples use.
_SANDBOX = f"{WHATSAPP_PREFIX}+14155238886"


#: The Messaging Service that the default pool belongs to, where the settings name none.
_POOL = "MG" + "0" * 31 + "1"


class Account:
    """Lists, in the forms in which the API pages them."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings

    def numbers(self, query: Mapping[str, str]) -> dict[str, Any]:
        """`GET /Accounts/{sid}/IncomingPhoneNumbers.json`, by number."""
        owned = [each for each in self._owned() if each.startswith("+")]
        asked = query.get("PhoneNumber")
        numbers = owned if asked is None else [asked] if self._owns(asked) else []
        return self._listed("IncomingPhoneNumbers", "incoming_phone_numbers", [self._number(each) for each in numbers])

    def short_codes(self, query: Mapping[str, str]) -> dict[str, Any]:
        """`GET /Accounts/{sid}/SMS/ShortCodes.json`, by short code."""
        owned = [each for each in self._owned() if SHORT_CODE.fullmatch(each)]
        asked = query.get("ShortCode")
        codes = owned if asked is None else [asked] if self._owns(asked) else []
        return self._listed("SMS/ShortCodes", "short_codes", [self._short_code(each) for each in codes])

    def application(self, sid: str) -> dict[str, Any] | None:
        """`GET /Accounts/{sid}/Applications/{sid}.json`; None: there is no such application."""
        urls = {_sid("AP", number): url for number, url in self._settings.applications.items()}
        if sid not in urls:
            return None
        return {
            "sid": sid,
            "account_sid": self._settings.account_sid,
            "sms_url": urls[sid],
            "sms_method": self._settings.inbound_method,
        }

    def services(self) -> dict[str, Any]:
        """`GET /v1/Services`."""
        return _page("services", [self.service(sid) for sid in self._settings.services or (_POOL,)])

    def service(self, sid: str) -> dict[str, Any]:
        """`GET /v1/Services/{sid}`."""
        return {
            "sid": sid,
            "account_sid": self._settings.account_sid,
            "inbound_request_url": self._settings.service_urls.get(sid),
            "inbound_method": self._settings.inbound_method,
            "use_inbound_webhook_on_number": sid not in self._settings.service_urls,
        }

    def numbers_of(self, service: str) -> dict[str, Any]:
        """`GET /v1/Services/{sid}/PhoneNumbers`."""
        numbers = [each for each in self._pool(service) if each.startswith("+")]
        return _page("phone_numbers", [{"sid": _sid("PN", each), "phone_number": each} for each in numbers])

    def short_codes_of(self, service: str) -> dict[str, Any]:
        """`GET /v1/Services/{sid}/ShortCodes`."""
        codes = [each for each in self._pool(service) if SHORT_CODE.fullmatch(each)]
        return _page("short_codes", [{"sid": _sid("SC", each), "short_code": each} for each in codes])

    def alpha_senders_of(self, service: str) -> dict[str, Any]:
        """`GET /v1/Services/{sid}/AlphaSenders`."""
        others = [each for each in self._pool(service) if not each.startswith(("+", WHATSAPP_PREFIX))]
        ids = [each for each in others if not SHORT_CODE.fullmatch(each)]
        return _page("alpha_senders", [{"sid": _sid("AI", each), "alpha_sender": each} for each in ids])

    def channel_senders_of(self, service: str) -> dict[str, Any]:
        """`GET /v1/Services/{sid}/ChannelSenders`."""
        senders = [each for each in self._pool(service) if each.startswith(WHATSAPP_PREFIX)]
        kind = {"messaging_service_sid": service, "sender_type": "WhatsApp"}
        return _page("senders", [{"sid": _sid("XE", each), "sender": each, **kind} for each in senders])

    def campaigns(self, service: str) -> dict[str, Any]:
        """`GET /v1/Services/{sid}/Compliance/Usa2p`."""
        campaign = {"sid": _sid("QE", service), "messaging_service_sid": service}
        return _page("compliance", [{**campaign, "campaign_status": self._settings.campaign_status}])

    def verifications(self, query: Mapping[str, str]) -> dict[str, Any]:
        """`GET /v1/Tollfree/Verifications`."""
        number = query.get("TollfreePhoneNumberSid", "")
        verification = {"sid": _sid("HH", number), "tollfree_phone_number_sid": number}
        return _page("verifications", [{**verification, "status": self._settings.toll_free_status}])

    def geo_permissions(self, query: Mapping[str, str]) -> dict[str, Any] | None:
        """`GET /v1/Messaging/GeoPermissions`, of the countries asked for; None: they are not shown."""
        if not self._settings.shows_geo_permissions:
            return None
        asked = [each for each in query.get("CountryCode", "").split(",") if each]
        blocked = self._settings.blocked_countries
        return {
            "permissions": [{"country_code": each, "type": "country", "enabled": each not in blocked} for each in asked]
        }

    def whatsapp_senders(self) -> dict[str, Any]:
        """`GET /v2/Channels/Senders`."""
        pool = (*self._owned(), *self._settings.default_pool, _SANDBOX)
        senders = sorted({each for each in pool if each.startswith(WHATSAPP_PREFIX)})
        return _page("senders", [self._whatsapp_sender(each) for each in senders])

    def _whatsapp_sender(self, sender: str) -> dict[str, Any]:
        webhook = {"callback_url": self._inbound_url(sender), "callback_method": self._settings.inbound_method}
        return {"sid": _sid("XE", sender), "sender_id": sender, "status": "ONLINE", "webhook": webhook}

    def _pool(self, service: str) -> Sequence[str]:
        return self._settings.services.get(service, self._settings.default_pool)

    def _inbound_url(self, sender: str) -> str:
        return self._settings.inbound_urls.get(sender, self._settings.inbound_url) or ""

    def _listed(self, path: str, key: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """As the older API pages."""
        uri = f"/{API_VERSION}/Accounts/{self._settings.account_sid}/{path}.json"
        page = {"page": 0, "page_size": 50, "uri": uri, "first_page_uri": uri, "next_page_uri": None}
        return {**page, "previous_page_uri": None, key: rows}

    def _owned(self) -> Sequence[str]:
        return sorted(self._settings.owned or ())

    def _owns(self, number: str) -> bool:
        return self._settings.owned is None or number in self._settings.owned

    def _number(self, number: str) -> dict[str, Any]:
        return {
            "sid": _sid("PN", number),
            "account_sid": self._settings.account_sid,
            "phone_number": number,
            "capabilities": {"sms": True, "mms": number.startswith("+1"), "voice": True},
            "sms_url": self._inbound_url(number),
            "sms_method": self._settings.inbound_method,
            "sms_application_sid": _sid("AP", number) if number in self._settings.applications else "",
        }

    def _short_code(self, code: str) -> dict[str, Any]:
        return {
            "sid": _sid("SC", code),
            "account_sid": self._settings.account_sid,
            "short_code": code,
            "sms_url": self._inbound_url(code),
            "sms_method": self._settings.inbound_method,
        }


def _page(key: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    meta = {"key": key, "page": 0, "page_size": 50, "url": "", "first_page_url": ""}
    return {key: rows, "meta": {**meta, "previous_page_url": None, "next_page_url": None}}


def _sid(prefix: str, of: str) -> str:
    """The same for the same thing."""
    return prefix + md5(of.encode(), usedforsecurity=False).hexdigest()

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
        asked = query.get("PhoneNumber")
        numbers = self._owned() if asked is None else [asked] if self._owns(asked) else []
        path = f"/{API_VERSION}/Accounts/{self._settings.account_sid}/IncomingPhoneNumbers.json"
        page = {"page": 0, "page_size": 50, "uri": path, "first_page_uri": path, "next_page_uri": None}
        return {**page, "previous_page_uri": None, "incoming_phone_numbers": [self._number(each) for each in numbers]}

    def services(self) -> dict[str, Any]:
        """`GET /v1/Services`."""
        return _page("services", [self.service(sid) for sid in self._settings.services or (_POOL,)])

    def service(self, sid: str) -> dict[str, Any]:
        """`GET /v1/Services/{sid}`."""
        return {
            "sid": sid,
            "account_sid": self._settings.account_sid,
            "inbound_request_url": self._settings.inbound_url,
        }

    def numbers_of(self, service: str) -> dict[str, Any]:
        """`GET /v1/Services/{sid}/PhoneNumbers`."""
        pool = self._settings.services.get(service, self._settings.default_pool)
        numbers = [each for each in pool if not each.startswith(WHATSAPP_PREFIX)]
        return _page("phone_numbers", [{"sid": _sid("PN", each), "phone_number": each} for each in numbers])

    def campaigns(self, service: str) -> dict[str, Any]:
        """`GET /v1/Services/{sid}/Compliance/Usa2p`."""
        campaign = {"sid": _sid("QE", service), "messaging_service_sid": service}
        return _page("compliance", [{**campaign, "campaign_status": self._settings.campaign_status}])

    def verifications(self, query: Mapping[str, str]) -> dict[str, Any]:
        """`GET /v1/Tollfree/Verifications`."""
        number = query.get("TollfreePhoneNumberSid", "")
        verification = {"sid": _sid("HH", number), "tollfree_phone_number_sid": number}
        return _page("verifications", [{**verification, "status": self._settings.toll_free_status}])

    def whatsapp_senders(self) -> dict[str, Any]:
        """`GET /v2/Channels/Senders`."""
        pool = (*self._owned(), *self._settings.default_pool, _SANDBOX)
        senders = sorted({each for each in pool if each.startswith(WHATSAPP_PREFIX)})
        return _page("senders", [{"sid": _sid("XE", each), "sender_id": each, "status": "ONLINE"} for each in senders])

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
            "sms_url": self._settings.inbound_urls.get(number, self._settings.inbound_url) or "",
            "sms_method": "POST",
        }


def _page(key: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    meta = {"key": key, "page": 0, "page_size": 50, "url": "", "first_page_url": ""}
    return {key: rows, "meta": {**meta, "previous_page_url": None, "next_page_url": None}}


def _sid(prefix: str, of: str) -> str:
    """The same for the same thing."""
    return prefix + md5(of.encode(), usedforsecurity=False).hexdigest()

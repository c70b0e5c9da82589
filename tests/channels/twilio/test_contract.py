"""The channels' contract, kept by the real SDK over real HTTP."""

from __future__ import annotations

import base64
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from channels.port import ProviderContext, WebhookRequest
from channels.testing import RECIPIENT, SENDER, ChannelContract, Rig, Situation, WebhooksContract, a_message
from channels.twilio import SMS
from channels.twilio.webhooks import TwilioWebhooks
from tests.channels.twilio import server
from tests.channels.twilio.server import ACCOUNT, AUTH_TOKEN, Answer

PUBLIC_URL = "https://notify.example.com"

ANSWERS: Mapping[Situation, Answer] = {
    Situation.ACCEPTED: server.accept_all(),
    Situation.UNAUTHORIZED: server.refuse(401, 20003),
    Situation.THROTTLED: server.answer_json(429, {"code": 20429, "message": "Too many"}, {"Retry-After": "7"}),
    Situation.SERVER_ERROR: server.refuse(500, 20500),
    Situation.NO_ANSWER: server.stall,
    Situation.DISCONNECTED: server.disconnect,
    Situation.TRUNCATED: server.truncate,
    Situation.GARBAGE_SUCCESS: server.answer_text(201, "<html>Created</html>"),
    Situation.EMPTY_SUCCESS: server.answer_text(201, ""),
    Situation.GARBAGE_REFUSAL: server.answer_text(400, "<html>Bad Request</html>"),
    Situation.REJECTED: server.refuse(400, 21612),
    Situation.OPTED_OUT: server.refuse(400, 21610),
    Situation.UNKNOWN_CODE: server.refuse(400, 29999),
}


def environ(url: str) -> dict[str, str]:
    return {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": AUTH_TOKEN, "TWILIO_API_BASE_URL": url}


def unused_url() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


class TestTwilioChannel(ChannelContract):
    rejected_code = 21612
    secrets = (AUTH_TOKEN, base64.b64encode(f"{ACCOUNT}:{AUTH_TOKEN}".encode()).decode())

    @asynccontextmanager
    async def make_adapter(self, situation: Situation) -> AsyncIterator[Rig]:
        async with server.running(default=ANSWERS.get(situation)) as provider:
            refused = situation is Situation.CONNECTION_REFUSED
            url = unused_url() if refused else provider.url
            timeout = 0.3 if situation is Situation.NO_ANSWER else 5.0
            context = ProviderContext(environ(url), PUBLIC_URL, timeout)
            try:
                yield Rig(SMS.open(context), provider.calls)
            finally:
                await context.aclose()


class TestTwilioWebhooks(WebhooksContract):
    required_status_fields = ("MessageSid", "MessageStatus")
    required_inbound_fields = ("MessageSid", "From", "To")
    signature_header = "x-twilio-signature"

    def make_webhooks(self) -> TwilioWebhooks:
        return TwilioWebhooks(auth_token=AUTH_TOKEN, public_url=PUBLIC_URL)

    def status_request(self, *, provider_status: str | None = None, missing: str | None = None) -> WebhookRequest:
        ref = a_message().ref
        query = urlencode({"n": f"{ref.source}.{ref.notification_id}", "a": ref.attempt, "t": ref.token})
        fields = {"MessageSid": "SM1", "MessageStatus": provider_status or "delivered", "To": RECIPIENT, "From": SENDER}
        return signed("/twilio/status", query, fields, missing)

    def inbound_request(self, text: str, *, missing: str | None = None) -> WebhookRequest:
        fields = {"MessageSid": "SM2", "From": RECIPIENT, "To": SENDER, "Body": text, "NumMedia": "0"}
        return signed("/twilio/inbound", "", fields, missing)


def signed(path: str, query: str, fields: Mapping[str, str], missing: str | None) -> WebhookRequest:
    kept = {name: value for name, value in fields.items() if name != missing}
    url = PUBLIC_URL + path + (f"?{query}" if query else "")
    signature = RequestValidator(AUTH_TOKEN).compute_signature(url, kept)
    headers = {"x-twilio-signature": signature, "content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    return WebhookRequest(path, query, headers, urlencode(kept).encode())

"""The webhooks' front door under whatever hypothesis sends: an answer of 2xx or 4xx, never a fault of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from channels.twilio.webhooks import TwilioWebhooks
from router.http import WebhookApp
from router.inbound import Inbound
from router.settings import InboundSettings
from tests.router.bodies import JSON
from tests.router.parts import HASHER, SENDERS, Parts, now

PUBLIC_URL = "https://notify.example.com"
TOKEN = "a-token-of-tests"
VALIDATOR = RequestValidator(TOKEN)

_FIELDS = [
    *("MessageSid", "SmsSid", "MessageStatus", "SmsStatus", "ErrorCode", "ChannelPrefix", "EventType"),
    *("RawDlrDoneDate", "From", "To", "Body", "NumMedia", "MediaUrl0", "MediaContentType0", "MessagingServiceSid"),
    *("OptOutType", "ButtonText", "ButtonPayload", "Latitude", "Longitude", "Label", "ProfileName", "ExternalUserId"),
]
_VALUES = st.text(max_size=30) | st.sampled_from(
    [
        *("SM1", "delivered", "sent", "failed", "read", "30003", "99999999999999", "-1", "2611201200", "2613991200"),
        *(
            "+12025550123",
            "whatsapp:+12025550123",
            "whatsapp:GB.1349",
            "whatsapp:",
            "STOP",
            "START",
            "3",
            "999",
            "1e999",
        ),
        *("nan", "91", "12.5", "stop", "READ", "HELP", "\x00", "\ud7ff"),
    ]
)
#: Complete ones to be spoilt, so that more than the first check is reached.
_GOOD = st.sampled_from(
    [
        {},
        {"MessageSid": "SM1", "MessageStatus": "delivered"},
        {"MessageSid": "SM1", "From": "+12025550123", "To": "+15017122661", "Body": "hi"},
        {"MessageSid": "SM1", "From": "whatsapp:+12025550123", "To": "whatsapp:+15017122661", "NumMedia": "1"},
    ]
)
_NAMES = st.sampled_from(_FIELDS) | st.text(max_size=10)
FORMS = st.builds(lambda good, noise: good | noise, _GOOD, st.dictionaries(_NAMES, _VALUES, max_size=4))
JSON_BODIES = (
    st.builds(lambda good, noise: good | noise, _GOOD, st.dictionaries(_NAMES, _VALUES | JSON, max_size=4)) | JSON
)
GOOD_TOKEN = HASHER.token("shop", "n-1", 1)
QUERIES = st.sampled_from(
    [
        "",
        f"n=shop.n-1&a=1&t={GOOD_TOKEN}",
        "n=shop.n-1&a=0&t=x",
        "n=shop&a=1&t=x",
        "n=a.b.c.*&a=1&t=é",
        "a=1&a=2",
        "&&&",
        "%",
    ]
) | st.text(alphabet="nat=&.%01*>é", max_size=30)
PATHS = st.sampled_from(["/twilio/status", "/twilio/inbound"])


async def _call(path: str, query: str, body: bytes, headers: Mapping[bytes, bytes], parts: Parts | None = None) -> int:
    parts = parts or Parts()
    webhooks = TwilioWebhooks(auth_token=TOKEN, public_url=PUBLIC_URL)
    inbound = Inbound(parts.store, SENDERS, parts.keeper, parts.sessions, parts.reach, InboundSettings(), now)
    app = WebhookApp({"twilio": webhooks}, parts.tracking, inbound, 64 * 1024, lambda: False)
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": list(headers.items()),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    status: int = sent[0]["status"]
    return status


def _sign(path: str, query: str, fields: Mapping[str, str]) -> bytes:
    # The server sees the query as bytes, one for each character.
    raw = query.encode().decode("latin-1")
    url = f"{PUBLIC_URL}{path}?{raw}" if raw else PUBLIC_URL + path
    signature: str = VALIDATOR.compute_signature(url, dict(fields))
    return signature.encode()


@given(PATHS, QUERIES, FORMS)
async def test_a_signed_form_is_taken_or_told_what_is_wrong(path: str, query: str, fields: dict[str, str]) -> None:
    body = urlencode(fields).encode()

    status = await _call(path, query, body, {b"x-twilio-signature": _sign(path, query, fields)})

    assert status in {200, 204, 400}


@given(PATHS, JSON_BODIES)
async def test_a_signed_json_body_is_taken_or_told_what_is_wrong(path: str, value: object) -> None:
    body = json.dumps(value).encode()
    query = f"bodySHA256={VALIDATOR.compute_hash(body.decode())}"
    headers = {b"x-twilio-signature": _sign(path, query, {}), b"content-type": b"application/json"}

    assert await _call(path, query, body, headers) in {200, 204, 400}


@given(
    PATHS,
    QUERIES,
    st.binary(max_size=200),
    st.dictionaries(
        st.sampled_from([b"content-type", b"x-twilio-signature", b"content-length"]),
        st.sampled_from([b"application/json", b"", b"x", b"\xff", b"-1", b"9" * 30]),
    ),
)
async def test_anything_else_is_refused_and_stores_nothing(
    path: str, query: str, body: bytes, headers: dict[bytes, bytes]
) -> None:
    parts = Parts()

    status = await _call(path, query, body, headers, parts)

    assert 400 <= status < 500
    assert [*parts.store.stream("DELIVERIES"), *parts.store.stream("INBOUND")] == []


async def test_half_a_surrogate_pair_is_told_what_is_wrong() -> None:
    """JSON can write one, and no UTF-8 can: it must not surface when the event is stored."""
    fields = {"MessageSid": "SM1", "From": "+12025550123", "To": "+15017122661", "Body": "\ud800"}
    body = json.dumps(fields).encode()
    query = f"bodySHA256={VALIDATOR.compute_hash(body.decode())}"
    headers = {b"x-twilio-signature": _sign("/twilio/inbound", query, {}), b"content-type": b"application/json"}

    assert await _call("/twilio/inbound", query, body, headers) == 400

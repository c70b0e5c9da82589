"""Callbacks beyond the contract: Twilio's own signature vectors, every trap of the URL, and every field."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from channels.errors import CallbackError, ChannelConfigError, PayloadError, SignatureError
from channels.model import (
    MMS,
    SMS,
    WHATSAPP,
    AttemptRef,
    Button,
    Handle,
    InboundMedia,
    Keyword,
    Location,
    NotificationId,
    PhoneNumber,
    ProviderError,
)
from channels.port import ProviderContext, WebhookRequest
from channels.status import DeliveryStatus
from channels.twilio.webhooks import TwilioWebhooks, open_webhooks

TOKEN = "12345"
PUBLIC_URL = "https://notify.example.com"
FORM = "application/x-www-form-urlencoded; charset=utf-8"


def a_request(
    fields: Mapping[str, str] | list[tuple[str, str]],
    *,
    path: str = "/twilio/status",
    query: str = "",
    public_url: str = PUBLIC_URL,
) -> WebhookRequest:
    pairs = list(fields.items()) if isinstance(fields, Mapping) else fields
    signed = dict(pairs)
    assert len(signed) == len(pairs)
    url = f"{public_url}{path}?{query}" if query else public_url + path
    signature = RequestValidator(TOKEN).compute_signature(url, signed)
    headers = {"x-twilio-signature": signature, "content-type": FORM}
    return WebhookRequest(path, query, headers, urlencode(pairs).encode())


def webhooks(public_url: str = PUBLIC_URL) -> TwilioWebhooks:
    return TwilioWebhooks(auth_token=TOKEN, public_url=public_url)


# Signatures.

VECTOR = {
    "CallSid": "CA1234567890ABCDE",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
    "Caller": "+14158675309",
}
REPEATED = [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234"), ("Digits", "1234")]
JSON_BODY = '{"property": "value", "boolean": true}'
JSON_QUERY = "foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"


HTTPS, QUERY = "https://mycompany.com", "foo=1&bar=2"
PLAIN, ON_443 = "RSOYDt4T1cUTdK1PDd93/VVr8B8=", "kvajT1Ptam85bY51eRf/AJRuM3w="


@pytest.mark.parametrize(
    ("public_url", "query", "body", "signature"),
    [
        pytest.param(HTTPS, QUERY, urlencode(VECTOR), PLAIN, id="form"),
        pytest.param(HTTPS, QUERY, urlencode(REPEATED), "IK+Dwps556ElfBT0I3Rgjkr1wJU=", id="repeated"),
        pytest.param(HTTPS, JSON_QUERY, JSON_BODY, "a9nBmqA0ju/hNViExpshrM61xv4=", id="json"),
        pytest.param(f"{HTTPS}:443", QUERY, urlencode(VECTOR), ON_443, id="https port"),
        pytest.param("http://mycompany.com:80", QUERY, urlencode(VECTOR), "0ZXoZLH/DfblKGATFgpif+LLRf4=", id="80"),
        pytest.param("http://mycompany.com:1234", QUERY, urlencode(VECTOR), "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=", id="1234"),
        pytest.param(HTTPS, QUERY, urlencode(VECTOR), ON_443, id="port signed, not configured"),
        pytest.param(f"{HTTPS}:443", QUERY, urlencode(VECTOR), PLAIN, id="port configured, not signed"),
    ],
)
def test_twilios_own_vectors(public_url: str, query: str, body: str, signature: str) -> None:
    content_type = "application/json" if body.startswith("{") else FORM
    headers = {"x-twilio-signature": signature, "content-type": content_type}
    request = WebhookRequest("/myapp.php", query, headers, body.encode())
    with pytest.raises(PayloadError, match="MessageStatus is missing"):  # signed, but no status callback
        webhooks(public_url).status(request)
    with pytest.raises(SignatureError):
        webhooks("https://example.com").status(request)


@pytest.mark.parametrize(
    ("configured", "signed"),
    [
        ("https://h/", "https://h"),
        ("https://h/base/", "https://h/base"),
        ("https://h", "https://h:443"),
        ("http://h", "http://h:80"),
        ("https://h:8443", "https://h"),
        ("https://u:p@h:8443", "https://u:p@h:8443"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]:443"),
    ],
)
def test_every_spelling_of_the_address_is_taken(configured: str, signed: str) -> None:
    request = a_request({"MessageSid": "SM1", "MessageStatus": "sent"}, public_url=signed)
    assert webhooks(configured).status(request).status is DeliveryStatus.SENT


def test_a_question_mark_that_was_lost_on_the_way_is_put_back() -> None:
    signed = a_request({"MessageSid": "SM1", "MessageStatus": "sent"}, path="/twilio/status?")
    request = WebhookRequest("/twilio/status", "", signed.headers, signed.body)
    assert webhooks().status(request).status is DeliveryStatus.SENT


def test_empty_and_padded_values_are_signed_as_they_are() -> None:
    request = a_request({"MessageSid": "SM1", "MessageStatus": "sent", "Body": " x ", "Empty": "", "é": "ü"})
    assert webhooks().status(request).raw["Body"] == " x "


def test_the_host_header_has_no_say() -> None:
    request = a_request({"MessageSid": "SM1", "MessageStatus": "sent"}, public_url="https://evil.example.com")
    headers = {**request.headers, "host": "evil.example.com", "x-forwarded-host": "evil.example.com"}
    with pytest.raises(SignatureError):
        webhooks().status(WebhookRequest(request.path, request.query, headers, request.body))


def a_json_request(body: str, query: str = "") -> WebhookRequest:
    query = f"{query}bodySHA256={hashlib.sha256(body.encode()).hexdigest()}"
    signature = RequestValidator(TOKEN).compute_signature(f"{PUBLIC_URL}/twilio/status?{query}", {})
    headers = {"x-twilio-signature": signature, "content-type": "application/json"}
    return WebhookRequest("/twilio/status", query, headers, body.encode())


def test_a_json_callback_is_read() -> None:
    request = a_json_request(
        '{"MessageSid": "SM1", "MessageStatus": "failed", "ErrorCode": 30008}', "n=shop.1&a=1&t=x&"
    )
    report = webhooks().status(request)
    assert (report.status, report.error and report.error.code) == (DeliveryStatus.FAILED, 30008)
    assert report.ref == AttemptRef("shop", NotificationId("1"), 1, "x")


@pytest.mark.parametrize("body", ["", "[]", "null", "{", "[" * 100_000, '{"a": ' * 20_000, "1" * 10_000])
def test_json_that_is_no_callback(body: str) -> None:
    with pytest.raises(PayloadError, match="body"):
        webhooks().status(a_json_request(body))


def test_a_json_body_that_was_changed_is_refused() -> None:
    request = a_json_request('{"MessageSid": "SM1"}')
    with pytest.raises(SignatureError):
        webhooks().status(WebhookRequest(request.path, request.query, request.headers, b'{"MessageSid": "SM2"}'))


def test_a_json_body_without_its_hash_is_refused() -> None:
    request = a_request({}, path="/twilio/status")
    headers = {**request.headers, "content-type": "application/json"}
    with pytest.raises(SignatureError, match="bodySHA256"):
        webhooks().status(WebhookRequest(request.path, "", headers, b"{}"))


def test_too_many_fields_are_refused() -> None:
    with pytest.raises(PayloadError, match="fields"):
        webhooks().status(a_request({f"F{n}": "" for n in range(1001)}))


@given(st.binary(max_size=300), st.text(max_size=50), st.text(max_size=50), st.text(max_size=40), st.booleans())
def test_whatever_comes_in_nothing_but_a_callback_error_goes_out(
    body: bytes, path: str, query: str, signature: str, is_json: bool
) -> None:
    headers = {"x-twilio-signature": signature, "content-type": "application/json" if is_json else FORM}
    request = WebhookRequest(path, query, headers, body)
    for read in (webhooks().status, webhooks().inbound):
        with pytest.raises(CallbackError):
            read(request)


IDENTITY = ("MessageSid", "MessageStatus", "From", "To", "ExternalUserId", "ChannelPrefix")
DETAILS = ("ErrorCode", "RawDlrDoneDate", "EventType", "Body", "NumMedia", "Latitude", "Longitude", "OptOutType")


@given(
    st.dictionaries(st.sampled_from(IDENTITY + DETAILS), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
)
def test_whatever_twilio_signs_is_read_or_refused_by_name(fields: dict[str, str]) -> None:
    for read in (webhooks().status, webhooks().inbound):
        with suppress(PayloadError):
            assert read(a_request(fields)).raw == fields


# Status callbacks.


def test_a_real_failed_callback() -> None:
    fields = {
        "RawDlrDoneDate": "2303092021",
        "ErrorCode": "30002",
        "SmsSid": "SM1",
        "SmsStatus": "failed",
        "MessageStatus": "failed",
        "To": "+15017122661",
        "MessageSid": "SM1",
        "AccountSid": "AC1",
        "From": "+15558675310",
        "ApiVersion": "2010-04-01",
    }
    report = webhooks().status(a_request(fields, query="n=shop.order-1&a=12&t=t0k_en-"))
    assert report.ref == AttemptRef("shop", NotificationId("order-1"), 12, "t0k_en-")
    assert (report.provider, report.provider_message_id) == ("twilio", "SM1")
    assert (report.status, report.provider_status) == (DeliveryStatus.FAILED, "failed")
    assert report.error == ProviderError("channel_config", 30002, "account is suspended")
    assert (report.channel, report.reported_at) == (None, datetime(2023, 3, 9, 20, 21, tzinfo=UTC))
    assert report.raw == fields


@pytest.mark.parametrize(
    "query",
    [
        "",
        "n=shop&a=1&t=x",
        "n=.1&a=1&t=x",
        "n=shop.&a=1&t=x",
        "n=shop.1&a=0&t=x",
        "n=shop.1&a=-1&t=x",
        "n=shop.1&a=%D9%A1&t=x",
        "n=shop.1&a=" + "9" * 5000 + "&t=x",
        "n=shop.1&a=1",
        "n=shop.1&a=1&t=",
        "&".join(["x=1"] * 2000),
    ],
)
def test_a_reference_that_was_lost_on_the_way_is_none(query: str) -> None:
    report = webhooks().status(a_request({"MessageSid": "SM1", "MessageStatus": "sent"}, query=query))
    assert (report.ref, report.status) == (None, DeliveryStatus.SENT)


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"MessageStatus": "delivered"}, DeliveryStatus.DELIVERED, None),
        ({"MessageStatus": "delivered", "ErrorCode": "0"}, DeliveryStatus.DELIVERED, None),
        ({"MessageStatus": "delivered", "EventType": "READ"}, DeliveryStatus.READ, None),
        ({"MessageStatus": "sending"}, DeliveryStatus.QUEUED, None),
        ({"MessageStatus": "received"}, None, None),
        ({"SmsStatus": "sent"}, DeliveryStatus.SENT, None),
        ({"MessageStatus": "failed"}, DeliveryStatus.FAILED, ProviderError("provider_rejected", None, None)),
        (
            {"MessageStatus": "undelivered", "ErrorCode": "30003"},
            DeliveryStatus.UNDELIVERED,
            ProviderError(
                "provider_unavailable", 30003, "handset is unreachable: off, without signal or a landline", slow=True
            ),
        ),
        (
            {"MessageStatus": "failed", "ErrorCode": "InvalidSandbox", "ChannelStatusMessage": "to +15017122661"},
            DeliveryStatus.FAILED,
            ProviderError("provider_rejected", "InvalidSandbox", "to [number]"),
        ),
    ],
)
def test_statuses_and_errors(
    fields: dict[str, str], status: DeliveryStatus | None, error: ProviderError | None
) -> None:
    report = webhooks().status(a_request({"MessageSid": "SM1", **fields}))
    assert (report.status, report.error) == (status, error)


@pytest.mark.parametrize(
    ("fields", "channel"),
    [
        ({"To": "+15017122661"}, None),
        ({"To": "whatsapp:+15017122661"}, WHATSAPP),
        ({"To": "+15017122661", "ChannelPrefix": "whatsapp"}, WHATSAPP),
        ({"To": "+15017122661", "From": "rcs:brand"}, "rcs"),
        ({"To": "+15017122661", "ChannelPrefix": "*.>"}, None),
    ],
)
def test_the_channel_is_told_where_a_prefix_names_it(fields: dict[str, str], channel: str | None) -> None:
    report = webhooks().status(a_request({"MessageSid": "SM1", "MessageStatus": "sent", **fields}))
    assert report.channel == channel


@pytest.mark.parametrize("text", ["", "2313092021", "23030920211", "yesterday", "٢٣٠٣٠٩٢٠٢١"])
def test_a_date_that_cannot_be_read_is_none(text: str) -> None:
    fields = {"MessageSid": "SM1", "MessageStatus": "sent", "RawDlrDoneDate": text}
    assert webhooks().status(a_request(fields)).reported_at is None


# Inbound messages.

SMS_FIELDS = {"MessageSid": "SM1", "From": "+15017122661", "To": "+15558675310", "Body": "Hi", "NumMedia": "0"}
WHATSAPP_FIELDS = {
    "MessageSid": "SM1",
    "From": "whatsapp:+447700900123",
    "To": "whatsapp:+14155238886",
    "Body": "Hi",
    "ProfileName": "Zoë",
    "WaId": "447700900123",
}


def test_an_sms() -> None:
    fields = {**SMS_FIELDS, "MessagingServiceSid": "MG1"}
    message = webhooks().inbound(a_request(fields, path="/twilio/inbound"))
    assert (message.message_id, message.channel, message.text) == ("SM1", SMS, "Hi")
    assert message.from_ == PhoneNumber("+15017122661", "US")
    assert (message.to, message.messaging_service_sid) == ("+15558675310", "MG1")
    assert (message.media, message.button, message.location, message.keyword) == ((), None, None, None)
    assert message.raw == fields


def test_media_make_it_an_mms() -> None:
    media = {"NumMedia": "3", "MediaUrl0": "https://a/0", "MediaContentType0": "image/png", "MediaUrl2": "https://a/2"}
    message = webhooks().inbound(a_request({**SMS_FIELDS, **media}))
    assert message.channel == MMS
    assert message.media == (InboundMedia("https://a/0", "image/png"), InboundMedia("https://a/2", None))


def test_a_whatsapp_message() -> None:
    more = {
        "ButtonText": "Yes please",
        "ButtonPayload": "yes-1",
        "Latitude": "51.5",
        "Longitude": "-0.12",
        "Label": "Here",
        "Address": "1 Road",
    }
    message = webhooks().inbound(a_request({**WHATSAPP_FIELDS, **more}))
    assert (message.channel, message.to, message.profile_name) == (WHATSAPP, "+14155238886", "Zoë")
    assert message.from_ == PhoneNumber("+447700900123", "GB")
    assert message.button == Button("Yes please", "yes-1")
    assert message.location == Location(51.5, -0.12, "Here", "1 Road")


@pytest.mark.parametrize(
    ("fields", "recipient"),
    [
        ({"From": "whatsapp:GB.13491208"}, Handle("whatsapp", "GB.13491208", "GB")),
        ({"From": "", "ExternalUserId": "GB.13491208"}, Handle("whatsapp", "GB.13491208", "GB")),
        ({"From": "whatsapp:", "ExternalUserId": "whatsapp:GB.13491208"}, Handle("whatsapp", "GB.13491208", "GB")),
        ({"From": "whatsapp:+447700900123", "ExternalUserId": "GB.1349"}, PhoneNumber("+447700900123", "GB")),
        ({"From": "12345"}, Handle("tel", "12345", None)),
        ({"From": "BANK"}, Handle("tel", "BANK", None)),
        ({"From": "messenger:1234"}, Handle("messenger", "1234", None)),
    ],
)
def test_who_wrote(fields: dict[str, str], recipient: Handle | PhoneNumber) -> None:
    assert webhooks().inbound(a_request({**SMS_FIELDS, **fields})).from_ == recipient


@pytest.mark.parametrize(
    ("fields", "keyword", "handled"),
    [
        ({**SMS_FIELDS, "Body": "Stop"}, Keyword.STOP, True),
        ({**SMS_FIELDS, "Body": "Stop", "To": "12345"}, Keyword.STOP, False),  # a short code of its own
        ({**SMS_FIELDS, "Body": "Stop", "To": "12345", "MessagingServiceSid": "MG1"}, Keyword.STOP, True),
        ({**SMS_FIELDS, "Body": "please stop"}, None, False),
        ({**SMS_FIELDS, "Body": "ARRETER", "OptOutType": "STOP"}, Keyword.STOP, True),
        ({**SMS_FIELDS, "Body": "stop", "OptOutType": "HELP"}, Keyword.HELP, True),
        ({**WHATSAPP_FIELDS, "Body": "stop"}, Keyword.STOP, False),
        ({**WHATSAPP_FIELDS, "Body": "stop", "OptOutType": "STOP"}, Keyword.STOP, True),
        ({**WHATSAPP_FIELDS, "Body": "x", "OptOutType": "PAUSE"}, None, False),
        ({**SMS_FIELDS, "Body": "Stop."}, Keyword.STOP, False),  # Twilio may have passed over it: we answer
        ({**SMS_FIELDS, "Body": "opt out"}, Keyword.STOP, False),
    ],
)
def test_keywords_and_who_answers_them(fields: dict[str, str], keyword: Keyword | None, handled: bool) -> None:
    message = webhooks().inbound(a_request(fields))
    assert (message.keyword, message.handled_by_provider) == (keyword, handled)


# Twilio puts the button's words into Body as well.
@pytest.mark.parametrize(
    ("words", "payload", "keyword"),
    [
        ("Cancel", "cancel-appointment-17", None),
        ("Yes", "confirm-17", None),
        ("End", "", None),
        ("Info", "more", None),
        ("Reschedule", "STOP", None),  # the payload is the service's word, not the recipient's
        ("Stop", "stop-offers", Keyword.STOP),
        ("Unsubscribe", "", Keyword.STOP),
        ("Opt out", "", Keyword.STOP),
        ("START", "", Keyword.START),
        ("Help", "", Keyword.HELP),
    ],
)
def test_a_pressed_button_is_a_keyword_only_where_it_is_unmistakable(
    words: str, payload: str, keyword: Keyword | None
) -> None:
    pressed = {"Body": words, "ButtonText": words, "ButtonPayload": payload}
    assert webhooks().inbound(a_request({**WHATSAPP_FIELDS, **pressed})).keyword == keyword
    assert webhooks().inbound(a_request({**WHATSAPP_FIELDS, **pressed, "OptOutType": "STOP"})).keyword == Keyword.STOP


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"From": ""}, "From"),
        ({"From": "whatsapp:nobody"}, "From"),
        ({"NumMedia": "many"}, "NumMedia"),
        ({"NumMedia": "-1"}, "NumMedia"),
        ({"Latitude": "north", "Longitude": "1"}, "Latitude"),
        ({"Latitude": "1", "Longitude": "nan"}, "Longitude"),
        ({"Latitude": "91", "Longitude": "1"}, "Latitude"),
    ],
)
def test_a_malformed_field_is_named_and_its_value_is_not(fields: dict[str, str], named: str) -> None:
    with pytest.raises(PayloadError, match=f"^{named}") as caught:
        webhooks().inbound(a_request({**SMS_FIELDS, **fields}))
    assert "nobody" not in str(caught.value)


# Replies and opening.


def test_replies() -> None:
    silent, spoken = webhooks().reply(None), webhooks().reply("A & B\x00 \ud83d")
    assert (silent.status, silent.content_type) == (200, "text/xml")
    assert silent.body == b'<?xml version="1.0" encoding="UTF-8"?><Response />'
    assert spoken.body == b'<?xml version="1.0" encoding="UTF-8"?><Response><Message>A &amp; B </Message></Response>'


@pytest.mark.parametrize(
    ("environ", "public_url", "named"),
    [({}, PUBLIC_URL, "TWILIO_AUTH_TOKEN"), ({"TWILIO_AUTH_TOKEN": "x"}, None, "http.public_url")],
)
def test_what_is_missing_is_named(environ: dict[str, str], public_url: str | None, named: str) -> None:
    with pytest.raises(ChannelConfigError, match=named):
        open_webhooks(ProviderContext(environ, public_url))


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(webhooks())

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from channels.errors import MessageInvalidError
from channels.model import (
    MMS,
    SMS,
    WHATSAPP,
    AttemptRef,
    FromNumber,
    Handle,
    Media,
    NotificationId,
    OutboundMessage,
    Template,
    Text,
)
from channels.twilio.payload import create_arguments, create_form, status_callback, validity_period
from tests.channels.twilio.messages import SERVICE, a_message, a_sender

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SERVICE_SENDER = a_sender(SERVICE)
WHATSAPP_SENDER = a_sender(FromNumber("+14155238886"))
URL = "https://cdn.example.com/a.jpg"
TEMPLATE = Template("HX1", {"1": "Zoë", "name": "x"})


def arguments(**fields: Any) -> dict[str, Any]:
    return create_arguments(a_message(**fields), public_url=None, now=NOW)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, {"to": "+15017122661", "from_": "+15558675310", "body": "Hello"}, id="text from a number"),
        pytest.param(
            {"sender": SERVICE_SENDER},
            {"to": "+15017122661", "messaging_service_sid": SERVICE.sid, "body": "Hello"},
            id="text from a service",
        ),
        pytest.param(
            {"channel": MMS, "content": Media((URL, URL + "2"), "Look")},
            {"to": "+15017122661", "from_": "+15558675310", "media_url": [URL, URL + "2"], "body": "Look"},
            id="media with a caption",
        ),
        pytest.param(
            {"channel": MMS, "content": Media((URL,))},
            {"to": "+15017122661", "from_": "+15558675310", "media_url": [URL]},
            id="media alone",
        ),
        pytest.param(
            {"channel": WHATSAPP, "sender": WHATSAPP_SENDER},
            {"to": "whatsapp:+15017122661", "from_": "whatsapp:+14155238886", "body": "Hello"},
            id="WhatsApp to a number",
        ),
        pytest.param(
            {"channel": WHATSAPP, "sender": a_sender(FromNumber("whatsapp:+14155238886"))},
            {"to": "whatsapp:+15017122661", "from_": "whatsapp:+14155238886", "body": "Hello"},
            id="WhatsApp from a sender that is configured with its prefix",
        ),
        pytest.param(
            {"channel": WHATSAPP, "sender": SERVICE_SENDER, "recipient": Handle("whatsapp", "GB.1349", "GB")},
            {"to": "whatsapp:GB.1349", "messaging_service_sid": SERVICE.sid, "body": "Hello"},
            id="WhatsApp to a user id, without a plus sign",
        ),
        pytest.param(
            {"content": TEMPLATE},
            {
                "to": "+15017122661",
                "from_": "+15558675310",
                "content_sid": "HX1",
                "content_variables": '{"1": "Zoë", "name": "x"}',
            },
            id="template with variables",
        ),
        pytest.param(
            {"content": Template("HX1")},
            {"to": "+15017122661", "from_": "+15558675310", "content_sid": "HX1"},
            id="template without variables",
        ),
        pytest.param(
            {"expires_at": NOW + timedelta(minutes=5)},
            {"to": "+15017122661", "from_": "+15558675310", "body": "Hello", "validity_period": 300},
            id="with an end",
        ),
    ],
)
def test_arguments(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert arguments(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"content": Text("")}, "empty"),
        ({"content": Text("x" * 1601)}, "1601 characters"),
        ({"content": Text("half a pair: \ud83d")}, "body"),
        ({"content": Media((URL,))}, "sms takes"),
        ({"channel": MMS, "content": Media(())}, "0 media"),
        ({"channel": MMS, "content": Media((URL,) * 11)}, "11 media"),
        ({"channel": MMS, "content": Media((URL,), "x" * 1601)}, "1601 characters"),
        ({"channel": WHATSAPP, "content": Media((URL, URL))}, "2 media"),
        ({"recipient": Handle("whatsapp", "GB.1349", "GB")}, "'whatsapp'"),
        ({"channel": WHATSAPP, "recipient": Handle("mailto", "a@b", None)}, "'mailto'"),
        ({"expires_at": NOW}, "expired"),
        ({"content": Template("HX1", {"1": "\udc00"})}, "content_variables"),
    ],
)
def test_what_cannot_be_expressed_is_refused_in_our_words(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(MessageInvalidError, match=says):
        arguments(**fields)


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        (timedelta(seconds=1), 1),
        (timedelta(seconds=1.9), 1),
        (timedelta(hours=10), 36_000),
        (timedelta(days=9), 36_000),
    ],
)
def test_validity_is_rounded_down_and_limited(left: timedelta, seconds: int) -> None:
    assert validity_period(NOW + left, NOW) == seconds


def test_validity_does_not_depend_on_the_zone() -> None:
    elsewhere = (NOW + timedelta(seconds=60)).astimezone(timezone(timedelta(hours=5)))
    assert validity_period(elsewhere, NOW) == 60


@pytest.mark.parametrize("public_url", ["https://notify.example.com/base", "https://notify.example.com/base/"])
def test_the_callback_names_the_attempt_and_how_to_retry(public_url: str) -> None:
    message = a_message()
    assert create_arguments(message, public_url=public_url, now=NOW)["status_callback"] == (
        "https://notify.example.com/base/twilio/status?n=shop.order-1&a=2&t=t0k_en-#rc=5&rp=all"
    )


def test_whatever_is_in_a_token_is_encoded() -> None:
    ref = AttemptRef("shop", NotificationId("1"), 1, "a&b#c d")
    assert status_callback("https://h", ref).startswith("https://h/twilio/status?n=shop.1&a=1&t=a%26b%23c+d#")


@given(
    st.one_of(
        st.builds(Text, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1600)),
        st.builds(
            Template,
            st.just("HX1"),
            st.dictionaries(st.text(max_size=5), st.text(st.characters(exclude_categories=["Cs"])), max_size=3),
        ),
    ),
    st.sampled_from([SMS, MMS, WHATSAPP]),
)
def test_every_valid_message_has_one_content_and_one_origin(content: Text | Template, channel: str) -> None:
    built = arguments(content=content, channel=channel)
    assert len(built.keys() & {"body", "content_sid"}) == 1
    assert len(built.keys() & {"from_", "messaging_service_sid"}) == 1
    if isinstance(content, Template) and content.variables:
        assert json.loads(built["content_variables"]) == content.variables


class Recorder(AsyncHttpClient):  # type: ignore[misc]  # the SDK ships no types
    """Sends nothing and keeps the form."""

    def __init__(self) -> None:
        super().__init__(logging.getLogger(__name__), is_async=True)
        self.form: dict[str, Any] = {}

    async def request(self, *_: object, data: dict[str, Any], **__: object) -> Response:
        self.form = data
        return Response(201, "{}")


@pytest.mark.parametrize(
    "message",
    [
        a_message(),
        a_message(channel=MMS, content=Media((URL, URL + "2"), "Look"), expires_at=NOW + timedelta(minutes=5)),
        a_message(channel=WHATSAPP, sender=SERVICE_SENDER, content=TEMPLATE),
    ],
    ids=["text", "media", "template"],
)
async def test_the_form_is_what_the_sdk_makes_of_the_arguments(message: OutboundMessage) -> None:
    http = Recorder()
    public_url = "https://notify.example.com"
    await Client("AC1", "token", http_client=http).messages.create_async(
        **create_arguments(message, public_url=public_url, now=NOW)
    )
    assert create_form(message, public_url=public_url, now=NOW) == http.form

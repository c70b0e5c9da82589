"""The log says what happened, and nothing that must not be read."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from router import logs
from router.logs import Format, Level, Redactor

PHONES = st.from_regex(r"\+[1-9][0-9]{7,14}", fullmatch=True)
WORDS = st.text(st.characters(codec="ascii", categories=("L", "P", "Zs")), max_size=20)
SECRETS = st.text(min_size=12, max_size=40).filter(lambda text: text.strip("*") != "")
FORMATS = st.sampled_from(("json", "console"))
PRIVATE_KEYS = st.sampled_from(
    [
        "body",
        "text",
        "content",
        "to",
        "from_",
        "recipient",
        "authorization",
        "token",
        "auth_token",
        "secret",
        "password",
    ]
)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def written(keys: dict[str, Any], form: Format = "json", event: str = "dispatch.sent") -> str:
    stream = io.StringIO()
    logs.configure(form, "info", stream)
    structlog.get_logger().info(event, **keys)
    return stream.getvalue()


def line(keys: dict[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(written(keys))
    return value


def test_a_line_is_json_with_when_how_bad_and_what() -> None:
    found = line({"notification_id": "order-1", "attempt": 1, "duration": 0.25, "reason": None})
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "level": "info",
        "event": "dispatch.sent",
        "notification_id": "order-1",
        "attempt": 1,
        "duration": 0.25,
        "reason": None,
    }


def test_what_is_no_terminal_gets_json() -> None:
    stream = io.StringIO()
    logs.configure("auto", "info", stream)
    structlog.get_logger().info("router.ready")
    assert json.loads(stream.getvalue())["event"] == "router.ready"


def test_the_console_shows_event_and_keys() -> None:
    text = written({"notification_id": "order-1"}, "console")
    assert "dispatch.sent" in text
    assert "notification_id=order-1" in text


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", ["a", "b", "c", "d"]), ("info", ["b", "c", "d"]), ("warning", ["c", "d"]), ("error", ["d"])],
)
def test_a_level_shows_itself_and_what_is_worse(level: Level, shown: list[str]) -> None:
    stream = io.StringIO()
    logs.configure("json", level, stream)
    log = structlog.get_logger()
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [json.loads(each)["event"] for each in stream.getvalue().splitlines()] == shown


def test_bound_context_is_on_every_line() -> None:
    with structlog.contextvars.bound_contextvars(notification_id="order-1"):
        assert line({})["notification_id"] == "order-1"


@given(number=PHONES, before=WORDS, after=WORDS, form=FORMATS)
def test_no_phone_number_is_ever_read_in_a_log(number: str, before: str, after: str, form: Format) -> None:
    text = written({"why": f"{before}{number}{after}", "to": number, "nested": {"list": [number]}}, form)
    assert number[1:] not in text


@given(number=PHONES, form=FORMATS)
def test_no_phone_number_without_its_plus_either(number: str, form: Format) -> None:
    text = written({"why": f"called {number[1:]}, whatsapp:{number} and %2B{number[1:]}"}, form, f"busy {number[1:]}")
    assert number[1:] not in text


@given(key=PRIVATE_KEYS, body=st.text(min_size=12), form=FORMATS)
def test_no_body_is_ever_read_in_a_log(key: str, body: str, form: Format) -> None:
    empty = written({"message": {"id": 1}}, form)
    assume(body not in empty)
    assume(json.dumps(body)[1:-1] not in empty)
    text = written({key: body, "message": {"Body": body, "parts": [{"text": body}]}}, form)
    assert body not in text
    assert json.dumps(body)[1:-1] not in text


@given(secret=SECRETS, before=WORDS)
def test_no_registered_secret_is_ever_read_in_a_log(secret: str, before: str) -> None:
    redactor = Redactor()
    redactor.register([secret])
    shown = str(redactor.value({"why": f"{before}{secret}", "list": [secret, {"deep": secret}]}))
    assert secret not in shown.replace(logs.HIDDEN, "")


def test_registered_secrets_reach_the_log_of_the_process() -> None:
    logs.register_secrets(["s3cr3t/with?signs", "short"])
    found = line({"why": "tried s3cr3t/with?signs", "url": "https://x.test/?k=s3cr3t%2Fwith%3Fsigns", "what": "short"})
    assert (found["why"], found["url"], found["what"]) == ("tried ***", "https://x.test/?k=***", "short")


def test_secrets_are_known_by_the_names_of_their_variables() -> None:
    environ = {"TWILIO_AUTH_TOKEN": "a", "TWILIO_API_KEY_SECRET": "b", "POINTSMAN_HASH_KEY": "c", "HOME": "d"}
    assert logs.secret_values(environ) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("SM1234567890abcdef1234567890abcdef", "SM1234567890abcdef1234567890abcdef"),
        ("6f1f3f0e-6f0b-5f3e-9a53-012345678901", "6f1f3f0e-6f0b-5f3e-9a53-012345678901"),
        ("2026-11-23T22:46:00.123456789Z", "2026-11-23T22:46:00.123456789Z"),
        ("2026-11-23T22:46:00.123456789+00:00", "2026-11-23T22:46:00.123456789+00:00"),
        ("2026-11-23", "2026-11-23"),
        ("order-4155550143", "order-4155550143"),
        ("1763937960123456789", "1763937960123456789"),
        ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
        ("error 21211 after 3 of 5", "error 21211 after 3 of 5"),
        ("12025550143", "***"),
        ("to 12025550143.", "to ***."),
        ("202-555-0143", "***"),
        ("call (202) 555-0143 now", "call *** now"),
        ("+1 (202) 555-0143", "***"),
        ("whatsapp:GB.13491208655302741918", "whatsapp:***"),
        ("user GB.13491208655302741918 wrote", "user *** wrote"),
        ("nats://me:hunter2@nats.test:4222", "nats://***@nats.test:4222"),
        ("Authorization: Basic QUM6dG9rZW4=", "Authorization: Basic ***"),
        ("GET /twilio/status?n=1&token=abc&x=2", "GET /twilio/status?n=1&token=***&x=2"),
        ("Data: {'Body': 'it\\'s late', 'To': 'x'}", "Data: {'Body': '***', 'To': '***'}"),
        ('{"auth_token": "abc", "id": 1}', '{"auth_token": "***", "id": 1}'),
    ],
)
def test_what_is_hidden_and_what_is_not(value: str, shown: str) -> None:
    assert line({"why": value})["why"] == shown


def test_ids_of_digits_stay_readable_where_an_id_is_expected() -> None:
    found = line({"notification_id": "4155550143", "subject": "deliveries.shop.sent.sms.4155550143"})
    assert found["notification_id"] == "4155550143"
    assert found["subject"] == "deliveries.shop.sent.sms.4155550143"


def test_even_an_id_hides_a_number_with_its_plus() -> None:
    assert line({"message_id": "x+14155550143"})["message_id"] == "x***"


class _Message(BaseModel):
    count: int


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_text_of_an_exception_is_redacted_too(form: Format) -> None:
    stream = io.StringIO()
    logs.configure(form, "info", stream)
    for cause in ("call +12025550143", "{'Body': 'a private word'}"):
        try:
            raise ValueError(cause)
        except ValueError:
            structlog.get_logger().exception("dispatch.fault")
    given = {"count": "a private word"}
    with pytest.raises(ValidationError) as caught:
        _Message.model_validate(given)
    structlog.get_logger().error("dispatch.fault", exc_info=caught.value)
    text = stream.getvalue()
    assert "ValueError: call ***" in text
    assert "ValidationError" in text
    assert "12025550143" not in text
    assert "a private word" not in text


def test_libraries_log_through_the_same_pipeline() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    logging.getLogger("nats.aio.client").warning("lost %s", "+12025550143")
    logging.getLogger("uvicorn.error").info("started")
    found = json.loads(stream.getvalue())
    assert (found["event"], found["level"], found["logger"]) == ("lost ***", "warning", "nats.aio.client")


def test_a_library_s_exception_comes_with_its_traceback() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    try:
        raise ValueError("to +12025550143")
    except ValueError:
        logging.getLogger("asyncio").exception("task failed")
    assert json.loads(stream.getvalue())["exception"].endswith("ValueError: to ***")


def test_a_record_that_cannot_be_formatted_is_named_and_not_shown() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    root = logging.getLogger()
    root.handlers[:] = root.handlers[-1:]  # pytest's own handlers raise
    logging.getLogger("nats").warning("%d", "a private word")
    found = json.loads(stream.getvalue())
    assert (found["event"], found["logger"]) == ("log.unreadable", "nats")


def test_configuring_twice_says_everything_once() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    logs.configure("json", "info", stream)
    logging.getLogger("nats").warning("once")
    assert len(stream.getvalue().splitlines()) == 1


def test_a_word_that_was_harmless_is_hidden_once_it_is_a_secret() -> None:
    redactor = Redactor()
    said = {"event": "sender.used", "sender": "hunter-two"}
    assert redactor(None, "info", dict(said)) == said
    redactor.register(["hunter-two"])
    assert redactor(None, "info", dict(said)) == {"event": "sender.used", "sender": "***"}


def test_of_harmless_words_no_more_are_remembered_than_a_system_has_names() -> None:
    redactor = Redactor()
    for number in range(3_000):
        redactor(None, "info", {"event": f"event-{number}", "why": "long " * 20, "status": f"word-{number}"})
    assert len(redactor._harmless_words) <= 1024
    assert all(len(word) <= 40 for word in redactor._harmless_words)


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_short_way_of_info_writes_what_the_long_way_of_the_other_levels_writes(form: Format) -> None:
    stream = io.StringIO()
    logs.configure(form, "info", stream)
    log = structlog.get_logger().bind(instance="a1", why="bound")
    keys: dict[str, Any] = {"why": "given", "status": "accepted", "seconds": 0.25, "body": "hello"}
    log.info("attempt.done", **keys)
    log.warning("attempt.done", **keys)
    log.info("attempt %s of %d", "done", 2, status="accepted")
    log.warning("attempt %s of %d", "done", 2, status="accepted")
    said = [re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z|info *|warning *", "", each) for each in stream.getvalue().splitlines()]
    assert len(said) == 4
    assert said[0::2] == said[1::2]


def test_info_is_dropped_where_a_processor_drops_it() -> None:
    logs.configure("json", "info", io.StringIO())
    with structlog.testing.capture_logs() as lines:
        structlog.get_logger().info("attempt.done", attempt=1)
    assert lines == [{"event": "attempt.done", "attempt": 1, "log_level": "info"}]

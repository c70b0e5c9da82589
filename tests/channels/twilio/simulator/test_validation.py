"""What the API refuses at once: one row per rule."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channels.twilio.simulator import ContentTemplate
from tests.channels.twilio.simulator.support import (
    SENDER,
    SERVICE,
    TEMPLATE,
    US,
    WA_RECIPIENT,
    WA_SENDER,
    Start,
)

OK: dict[str, Any] = {"To": US, "From": SENDER, "Body": "hi"}

REFUSALS: list[tuple[str, dict[str, Any], int]] = [
    ("no recipient", {"From": SENDER, "Body": "hi"}, 21604),
    ("no sender", {"To": US, "Body": "hi"}, 21603),
    ("no content", {"To": US, "From": SENDER}, 21619),
    ("empty body", OK | {"Body": ""}, 21602),
    ("body too long", OK | {"Body": "x" * 1601}, 21617),
    ("bad media", OK | {"MediaUrl": "ftp://example.com/a.jpg"}, 21620),
    ("recipient a short code", OK | {"To": "12345"}, 21265),
    ("recipient no number", OK | {"To": "+1555"}, 21211),
    ("recipient in words", OK | {"To": "whatsapp:me"}, 21211),
    ("bad sender", OK | {"From": "+"}, 21212),
    ("sender equals recipient", OK | {"From": US}, 21266),
    ("sender of another account", OK | {"From": "+15017122999"}, 21606),
    ("short code of another account", OK | {"From": "12345"}, 21659),
    ("WhatsApp sender of another account", OK | {"From": "whatsapp:+15017122999", "To": WA_RECIPIENT}, 63007),
    ("two channels", OK | {"From": WA_SENDER}, 21910),
    ("alphanumeric to the US", OK | {"From": "Shop"}, 21612),
    ("unknown service", {"To": US, "Body": "hi", "MessagingServiceSid": "MG" + "0" * 32}, 21705),
    ("unknown template", {"To": US, "From": SENDER, "ContentSid": "HX" + "0" * 32}, 21655),
    ("callback no URL", OK | {"StatusCallback": "not a url"}, 21609),
    ("callback with an underscore", OK | {"StatusCallback": "https://my_host.example.com/"}, 21609),
    ("validity zero", OK | {"ValidityPeriod": "0"}, 21624),
    ("validity too long", OK | {"ValidityPeriod": "36001"}, 21624),
    ("blocked country", OK | {"To": "+33612345678"}, 21408),
    ("magic invalid", OK | {"To": "+15005550001"}, 21211),
    ("magic unreachable", OK | {"To": "+15005550002"}, 21612),
    ("magic geo", OK | {"To": "+15005550003"}, 21408),
    ("magic opted out", OK | {"To": "+15005550004"}, 21610),
    ("magic no mobile", OK | {"To": "+15005550009"}, 21614),
    ("magic invalid sender", OK | {"From": "+15005550001"}, 21212),
    ("magic sender not ours", OK | {"From": "+15005550007"}, 21606),
    ("magic queue full", OK | {"From": "+15005550008"}, 21611),
]

BAD_VARIABLES = ["[]", "no json", '{"1": ""}', '{"1": null}', '{"1": "a\\nb"}', '{"1": "a     b"}', '{"1": "\\ud800"}']

ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("text", OK),
    ("the longest text", OK | {"Body": "x" * 1600}),
    ("media alone", {"To": US, "From": SENDER, "MediaUrl": "https://example.com/a.jpg"}),
    ("magic sender", OK | {"From": "+15005550006"}),
    ("alphanumeric abroad", OK | {"From": "Shop", "To": "+447700900123"}),
    ("WhatsApp number", OK | {"From": WA_SENDER, "To": WA_RECIPIENT}),
    ("WhatsApp user id", OK | {"From": WA_SENDER, "To": "whatsapp:US.13491208655302741918"}),
    ("service", {"To": US, "Body": "hi", "MessagingServiceSid": SERVICE}),
    ("template", {"To": US, "From": SENDER, "ContentSid": TEMPLATE, "ContentVariables": '{"1": "x"}'}),
    ("callback with a query and a fragment", OK | {"StatusCallback": "https://example.com/s?n=a.b&a=1#rc=5&rp=all"}),
]

STRICT: dict[str, Any] = {
    "owned": {SENDER, US, WA_SENDER, "Shop"},
    "services": {SERVICE: (SENDER,)},
    "templates": (ContentTemplate(sid=TEMPLATE, text="Order {{1}}"),),
    "blocked_countries": {"FR"},
}


@pytest.mark.parametrize(("form", "code"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
async def test_refuses(start: Start, form: dict[str, Any], code: int) -> None:
    api = await start(**STRICT)
    answer = await api.create(**form)
    assert (answer.status, answer.code) == (400, code)
    assert set(answer.json) == {"code", "message", "more_info", "status"}
    assert api.simulator.accepted == 0


@pytest.mark.parametrize("form", [row[1] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
async def test_accepts(start: Start, form: dict[str, Any]) -> None:
    api = await start(**STRICT)
    answer = await api.create(**form)
    assert answer.status == 201, answer.json
    assert answer.json["to"] == form["To"]


@pytest.mark.parametrize("variables", BAD_VARIABLES)
async def test_refuses_variables_that_a_template_cannot_take(start: Start, variables: str) -> None:
    api = await start(**STRICT)
    answer = await api.create(To=US, From=SENDER, ContentSid=TEMPLATE, ContentVariables=variables)
    assert answer.code == 21656


async def test_refuses_an_eleventh_media(start: Start) -> None:
    api = await start()
    media = [("MediaUrl", f"https://example.com/{n}.jpg") for n in range(11)]
    form = [("To", US), ("From", SENDER), *media]
    answer = await api.request("POST", f"{api.account}/Messages.json", data=form)
    assert answer.code == 21623
    answer = await api.request("POST", f"{api.account}/Messages.json", data=form[:-1])
    assert (answer.status, answer.json["num_media"], answer.json["sid"][:2]) == (201, "10", "MM")


async def test_media_abroad_becomes_a_link_in_the_text(start: Start) -> None:
    api = await start()
    answer = await api.text("+447700900123", MediaUrl="https://example.com/a.jpg")
    assert answer.json["body"] == "hi\nhttps://example.com/a.jpg"
    assert answer.json["sid"].startswith("MM")


async def test_whatsapp_takes_one_media(start: Start) -> None:
    api = await start()
    form = [("To", WA_RECIPIENT), ("From", WA_SENDER), ("MediaUrl", "https://e.com/1"), ("MediaUrl", "https://e.com/2")]
    answer = await api.request("POST", f"{api.account}/Messages.json", data=form)
    assert answer.json["num_media"] == "1"


async def test_a_template_is_rendered_with_its_defaults(start: Start) -> None:
    template = ContentTemplate(sid=TEMPLATE, text="{{1}}, order {{n}} of {{1}}", variables={"n": "none"})
    api = await start(templates=(template,))
    answer = await api.create(To=US, From=SENDER, ContentSid=TEMPLATE, ContentVariables='{"1": "Ann"}')
    assert answer.json["body"] == "Ann, order none of Ann"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/2010-04-01/Accounts/AC0/Messages.json", 404, 20404),
        ("PUT", "{account}/Messages.json", 405, 20004),
        ("GET", "{account}/Messages/SM0.json", 404, 20404),
        ("POST", "{account}/Messages/SM0.json", 404, 20404),
        ("GET", "{account}/Messages.json?PageSize=1001", 400, 20007),
        ("GET", "{account}/Messages.json?PageSize=many", 400, 20001),
        ("GET", "{account}/Messages.json?DateSent=soon", 400, 20001),
        ("GET", "{account}/Messages.json?PageToken=PASM0", 400, 21481),
        ("GET", "/v1/Content/HX0", 404, 20404),
        ("GET", "/nowhere", 404, 20404),
    ],
)
async def test_requests_that_lead_nowhere(start: Start, method: str, path: str, status: int, code: int) -> None:
    api = await start()
    answer = await api.request(method, path.format(account=api.account))
    assert (answer.status, answer.code) == (status, code)


async def test_an_update_that_is_neither_cancel_nor_redaction(start: Start) -> None:
    api = await start()
    sid = (await api.text()).json["sid"]
    answer = await api.request("POST", f"{api.account}/Messages/{sid}.json", data={"Status": "sent"})
    assert answer.code == 30400


async def test_the_sender_s_queue_takes_so_many_seconds_of_its_rate(start: Start) -> None:
    # Two a second, three seconds: six wait or are being sent, the seventh is refused.
    api = await start(rates={SENDER: 2}, queue_seconds=3)
    codes = [(await api.text()).code for _ in range(7)]
    assert codes == [None] * 6 + [21611]
    assert (await api.text(From="+15017122662")).status == 201


async def test_more_requests_at_a_time_than_allowed_are_throttled(start: Start) -> None:
    api = await start(max_concurrency=2, faults={"latency_ms": 100})
    answers = await asyncio.gather(*(api.text() for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [201, 201, 429, 429]
    assert {answer.code for answer in answers} == {None, 20429}

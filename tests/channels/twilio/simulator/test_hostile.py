"""Whatever comes in, the answer is one the API documents: never a 500 by accident."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import aiohttp
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from channels.twilio.simulator import ContentTemplate, Simulator
from channels.twilio.simulator.codes import API_ERRORS, Refusal
from channels.twilio.simulator.drafts import draft_of, parse_form
from channels.twilio.simulator.hooks import overrides_of
from channels.twilio.simulator.listing import query_of
from channels.twilio.simulator.validation import validate
from channels.twilio.simulator.world import World
from tests.channels.twilio.simulator.support import SENDER, SERVICE, TEMPLATE, US, WA_RECIPIENT, WA_SENDER, settings

HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            *("", "+", "whatsapp:", US, SENDER, WA_SENDER, WA_RECIPIENT, SERVICE, TEMPLATE, "12345", "Shop", "fixed"),
            *("canceled", "http://[", "http://h:99999/", "https://e.com/#rc=5", "http://a b/", "9" * 30, "\u0661"),
            *('{"1": "x"}', '{"1": 1}', "[" * 5000, "null", "2100-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"),
        ]
    ),
)
NAMES = st.sampled_from(
    [
        *("To", "From", "Body", "MediaUrl", "MessagingServiceSid", "ContentSid", "ContentVariables"),
        *("StatusCallback", "ValidityPeriod", "SendAt", "ScheduleType", "Status", "Nonsense"),
    ]
)
FORMS = st.lists(st.tuples(NAMES, HOSTILE), max_size=12).map(lambda pairs: urlencode(pairs, errors="replace").encode())
BODIES = st.one_of(FORMS, st.binary(max_size=200))

STRICT = settings(templates=(ContentTemplate(sid=TEMPLATE, text="{{1}}"),), blocked_countries={"FR"})


def _refusal_of(action: Callable[[], object]) -> int | None:
    try:
        action()
    except Refusal as refusal:
        return refusal.code
    return None


@given(BODIES)
def test_a_form_is_either_valid_or_refused_with_a_documented_code(body: bytes) -> None:
    draft = draft_of(parse_form(body))
    code = _refusal_of(lambda: validate(draft, World(STRICT), 0.0))
    assert code in API_ERRORS or (code is None and draft.to and (draft.from_ or draft.service_sid))


@given(st.dictionaries(st.sampled_from(["To", "DateSent", "DateSent>", "Page", "PageSize", "PageToken"]), HOSTILE))
def test_a_query_is_either_read_or_refused(params: dict[str, str]) -> None:
    code = _refusal_of(lambda: query_of(params))
    assert code in {None, 20001, 20007}


@given(st.text(max_size=60))
def test_any_fragment_gives_overrides_within_twilios_limits(fragment: str) -> None:
    overrides = overrides_of(fragment)
    assert 0 <= overrides.retries <= 5
    assert 0.1 <= (overrides.timeout.sock_read or 0) <= 15


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """A loop of its own, since hypothesis calls a plain function many times."""
    with asyncio.Runner() as own:
        yield own


@pytest.fixture(scope="module")
def simulator(runner: asyncio.Runner) -> Iterator[Simulator]:
    running = Simulator(STRICT)
    runner.run(running.start())
    yield running
    runner.run(running.stop())


PATHS = st.sampled_from(
    [
        *("{a}/Messages.json", "{a}/Messages/SM0.json", "{a}/Messages/.json", "{a}.json", "/v1/Content/", "/"),
        *("/simulator/inbound", "/simulator/faults", "/simulator/sessions", "/simulator/templates", "/simulator/clock"),
    ]
)


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(["GET", "POST", "DELETE", "PUT"]), path=PATHS, body=BODIES)
def test_over_the_wire_nothing_is_a_500(
    runner: asyncio.Runner, simulator: Simulator, method: str, path: str, body: bytes
) -> None:
    account = f"/2010-04-01/Accounts/{simulator.settings.account_sid}"
    credentials = aiohttp.encode_basic_auth(simulator.settings.account_sid, simulator.settings.auth_token)

    async def status() -> int:
        url = simulator.base_url + path.format(a=account)
        headers = {"Authorization": credentials}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, url, data=body) as response,
        ):
            return response.status

    assert runner.run(status()) in {200, 201, 204, 400, 404, 405, 409}

"""The HTTP endpoints against requests made from their own description: right ones, wrong ones and no requests at all.

Schemathesis makes the requests and holds every answer against the OpenAPI document; a real router answers them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from twilio.request_validator import RequestValidator

from channels.twilio.simulator.settings import DEMO_AUTH_TOKEN
from router.openapi import openapi
from tests.integration.harness import Harness

pytestmark = pytest.mark.nats

VALIDATOR = RequestValidator(DEMO_AUTH_TOKEN)
OPERATIONS = [(path, method) for path, item in openapi()["paths"].items() for method in item if method != "servers"]
WEBHOOKS = [each for each in OPERATIONS if each[0].startswith("/twilio/")]
PAGES = [each for each in OPERATIONS if each not in WEBHOOKS]
#: Whether a right request is taken and a wrong one refused depends on who signed it: asserted here.
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
AnyCase = Case[Any]
QUICK = settings(
    max_examples=40, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def cases(path: str, method: str, mode: GenerationMode) -> st.SearchStrategy[AnyCase]:
    """Requests to one endpoint as its description allows them, or as it does not."""
    operation: Any = schemathesis.openapi.from_dict(openapi())[path][method]
    strategy: st.SearchStrategy[AnyCase] = operation.as_strategy(generation_mode=mode)
    return strategy


def signed(case: AnyCase, base_url: str) -> requests.PreparedRequest:
    """As the provider would sign it."""
    request = requests.Request(**case.as_transport_kwargs(base_url)).prepare()
    body = request.body.decode() if isinstance(request.body, bytes) else request.body or ""
    fields = dict(parse_qsl(str(body), keep_blank_values=True))
    request.headers["X-Twilio-Signature"] = VALIDATOR.compute_signature(request.url, fields)
    return request


async def answers(
    base_url: str,
    path: str,
    method: str,
    mode: GenerationMode,
    sign: Callable[[AnyCase, str], requests.PreparedRequest],
) -> Counter[int]:
    """What one endpoint says to requests of one kind; each answer is held against the description."""
    seen: Counter[int] = Counter()

    @QUICK
    @given(cases(path, method, mode))
    def ask(case: AnyCase) -> None:
        with requests.Session() as session:
            response = session.send(sign(case, base_url), timeout=5)
        case.validate_response(response, checks=CHECKS)
        seen[response.status_code] += 1

    await asyncio.to_thread(ask)
    return seen


def as_it_is(case: AnyCase, base_url: str) -> requests.PreparedRequest:
    """Signed by nobody."""
    return requests.Request(**case.as_transport_kwargs(base_url)).prepare()


async def test_what_is_described_is_taken_when_it_is_signed(harness: Harness) -> None:
    for path, method in WEBHOOKS:
        seen = await answers(harness.public_url, path, method, GenerationMode.POSITIVE, signed)
        assert set(seen) <= {200, 204, 400}
        assert seen[200] + seen[204] > 0, "a number of the right form may be nobody's, and is not taken"
        assert path == "/twilio/inbound" or not seen[400]
    await harness.idle()
    assert harness.deliveries == []


async def test_what_is_not_described_is_refused_even_when_it_is_signed(harness: Harness) -> None:
    for path, method in WEBHOOKS:
        seen = await answers(harness.public_url, path, method, GenerationMode.NEGATIVE, signed)
        assert set(seen) <= {200, 204, 400, 403, 413}, "fields that nobody asked for may be there"
        assert seen[400], seen
    await harness.idle()
    assert harness.deliveries == []


@pytest.mark.parametrize("mode", GenerationMode)
async def test_what_nobody_signed_is_refused_whatever_it_is(harness: Harness, mode: GenerationMode) -> None:
    for path, method in WEBHOOKS:
        seen = await answers(harness.public_url, path, method, mode, as_it_is)
        assert set(seen) <= {403, 413}
    await harness.idle()
    assert (harness.deliveries, harness.inbound) == ([], [])


async def test_operators_pages_answer_as_they_are_described(harness: Harness) -> None:
    admin = harness.routers[0].admin_url
    for path, method in PAGES:
        seen = await answers(admin, path, method, GenerationMode.POSITIVE, as_it_is)
        assert set(seen) == {200}, path


async def test_other_methods_are_told_which_there_are(harness: Harness) -> None:
    for base, operations, allowed in (
        (harness.public_url, WEBHOOKS, "POST"),
        (harness.routers[0].admin_url, PAGES, "GET, HEAD"),
    ):
        for path, _ in operations:
            for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"} - set(allowed.split(", ")):
                async with harness.http.request(method, base + path) as response:
                    assert (response.status, response.headers["Allow"]) == (405, allowed), (method, path)


async def test_the_description_is_served_as_it_is_printed(harness: Harness) -> None:
    async with harness.http.get(f"{harness.routers[0].admin_url}/openapi.json") as response:
        assert await response.json() == openapi()

"""What the Content API says of templates, by the real SDK from the simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from channels.errors import ProviderThrottledError, ProviderUnavailableError, SendError
from channels.model import WHATSAPP
from channels.port import ProviderContext, TemplateCatalog, TemplateReport
from channels.twilio.channel import TwilioChannel, open_channel
from channels.twilio.simulator import ContentTemplate, Faults, Simulator, SimulatorSettings
from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN

STATES = ["unsubmitted", "received", "pending", "approved", "rejected", "paused", "disabled"]


def sid(number: int) -> str:
    return f"HX{number:032x}"


@asynccontextmanager
async def a_catalog(*templates: ContentTemplate, faults: Faults | None = None) -> AsyncIterator[TwilioChannel]:
    given = SimulatorSettings(seed=1, templates=templates, faults=faults or Faults())
    async with Simulator(given) as simulator:
        environ = {
            "TWILIO_ACCOUNT_SID": DEMO_ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": DEMO_AUTH_TOKEN,
            "TWILIO_API_BASE_URL": simulator.base_url,
        }
        context = ProviderContext(environ, None, timeout=2.0)
        try:
            yield open_channel(WHATSAPP, context)
        finally:
            await context.aclose()


async def test_only_one_that_whatsapp_approved_is_approved() -> None:
    templates = [ContentTemplate(sid=sid(n), status=state) for n, state in enumerate(STATES)]
    async with a_catalog(*templates) as catalog:
        assert isinstance(catalog, TemplateCatalog)
        reports = await catalog.templates([template.sid for template in templates])
    assert reports == [TemplateReport(sid(n), state == "approved", state) for n, state in enumerate(STATES)]


async def test_variables_are_those_declared_and_those_that_any_part_holds() -> None:
    template = ContentTemplate(sid=sid(1), text="Hello {{name}}, order {{ 2 }}", variables={"1": "a sample"})
    async with a_catalog(template) as catalog:
        (report,) = await catalog.templates([template.sid])
    assert report.variables == {"1", "name", "2"}


async def test_one_that_the_account_does_not_have_is_missing_and_others_are_not_told() -> None:
    async with a_catalog(*(ContentTemplate(sid=sid(n)) for n in range(3))) as catalog:
        reports = await catalog.templates([sid(7), sid(1)])
    assert reports == [TemplateReport(sid(1), True, "approved"), TemplateReport(sid(7), False, "missing")]


async def test_what_the_list_does_not_show_is_asked_for_by_itself() -> None:
    """An account without templates: the simulator then knows every well-formed SID, and lists none."""
    async with a_catalog() as catalog:
        assert await catalog.templates([sid(1)]) == [TemplateReport(sid(1), True, "approved")]


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(reads=True, throttle=1), ProviderThrottledError),
        (Faults(reads=True, error_before=1), ProviderUnavailableError),
        (Faults(reads=True, drop_before=1), ProviderUnavailableError),
        (Faults(reads=True, accept_no_answer=1, hang_seconds=10), ProviderUnavailableError),
    ],
)
async def test_a_provider_that_cannot_be_asked_says_so(faults: Faults, error: type[SendError]) -> None:
    async with a_catalog(ContentTemplate(sid=sid(1)), faults=faults) as catalog:
        with pytest.raises(error):
            await catalog.templates([sid(1)])

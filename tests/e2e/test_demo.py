"""`pointsman demo`, started as a newcomer starts it; and what it says where something does not end as it has to."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from router.demo.samples import SAMPLES, Expected, Sample
from router.demo.show import Ending, Summary, show_on
from router.demo.tale import Tale
from router.wire import DeliveryEvent

pytestmark = [pytest.mark.e2e, pytest.mark.nats]

_LIMIT = 30.0  #: seconds that the demo may take


async def start_demo(directory: Path, *options: str) -> asyncio.subprocess.Process:
    """The command, in a directory and with an environment that would mislead it if it looked."""
    (directory / "tmp").mkdir()
    (directory / "pointsman.toml").write_text("this is no configuration")
    (directory / ".env").write_text("TWILIO_API_BASE_URL=http://127.0.0.1:1\n")
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "router.cli", "demo", *options),
        cwd=directory,
        env=os.environ
        | {
            "TMPDIR": str(directory / "tmp"),
            "POINTSMAN_NATS__URL": "nats://127.0.0.1:1",
            "TWILIO_ACCOUNT_SID": "AC" + "f" * 32,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def nobody_listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


@pytest.mark.slow
async def test_every_sample_ends_as_it_has_to_and_nothing_is_left_behind(tmp_path: Path) -> None:
    demo = await start_demo(tmp_path, "--json")
    async with asyncio.timeout(_LIMIT):
        out, err = await demo.communicate()
    assert demo.returncode == 0, err.decode() + out.decode()

    *samples, summary = [json.loads(line) for line in out.splitlines()]
    assert [sample["id"] for sample in samples] == [sample.id for sample in SAMPLES]
    assert [sample["problems"] for sample in samples] == [[] for _ in SAMPLES]
    assert {sample["id"]: (sample["carried"], sample["sent"]) for sample in samples} == {
        "us-text": ("sms/text", 1),
        "us-picture": ("mms/media", 1),
        "jamaica-picture": ("sms/link", 1),
        "india-template": ("whatsapp/template", 1),
        "whatsapp-answer": ("whatsapp/text", 1),
        "after-stop": ("none", 0),
        "bad-number": ("sms/text", 0),
        "published-twice": ("sms/text", 1),
        "later": ("sms/text", 1),
    }
    assert (summary["ok"], summary["failed"], summary["log"]) == (True, 0, None)
    assert summary["seconds"] < _LIMIT
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
async def test_ended_early_it_stops_and_removes_everything(tmp_path: Path, number: signal.Signals, status: int) -> None:
    demo = await start_demo(tmp_path)
    assert demo.stdout is not None
    addresses: list[str] = []
    async with asyncio.timeout(_LIMIT):
        while len(addresses) < 4:  # the server, the simulator, the router's two listeners
            line = (await demo.stdout.readline()).decode()
            assert line, "it ended before everything was started"
            addresses += re.findall(r"127\.0\.0\.1:\d+", line)
        demo.send_signal(number)
        _, err = await demo.communicate()
    assert demo.returncode == status
    assert b"Traceback" not in err
    assert all([await nobody_listens(address) for address in addresses])
    assert list((tmp_path / "tmp").iterdir()) == []


# --- what it says, from events made up here

SAMPLE = Sample("one", "a text", "+12025550101", {"text": "x"}, Expected(("routed", "delivered"), "sms/text"))
DECISION = {
    "outcome": "routed",
    "reason": "routed",
    "policy": "1+0",
    "plan": [{"channel": "sms", "form": "text", "sender": "us", "because": "the text fits"}],
    "facts": {},
    "trace": [{"rule": "route.us", "matched": True, "because": "it applies: the country is US"}],
}


def event(status: str, **fields: Any) -> DeliveryEvent:
    now = datetime(2026, 11, 1, 12, tzinfo=UTC)
    given = {
        "event_id": status,
        "notification_id": "one",
        "source": "demo",
        "lane": "normal",
        "category": "transactional",
        "metadata": {},
        "status": status,
        "final": False,
        "channel": "sms",
        "form": "text",
        "attempt": 1,
        "recipient": "+12025550101",
        "sender": "us",
        "provider": "twilio",
        "provider_message_id": None,
        "provider_status": None,
        "reason": None,
        "error": None,
        "decision": DECISION if status == "routed" else None,
        "occurred_at": now,
        "recorded_at": now,
    }
    return DeliveryEvent.model_validate(given | fields)


def tale(*events: DeliveryEvent) -> Tale:
    return Tale(SAMPLE, list(events))


GOOD = (event("routed"), event("sending"), event("delivered", final=True))
REFUSAL = {"class": "recipient_unreachable", "code": 21211, "message": "recipient's number is not valid"}
REFUSED = (event("routed"), event("failed", error=REFUSAL), event("exhausted", final=True, reason="not_on_channel"))


@pytest.mark.parametrize(
    ("events", "sent", "problems"),
    [
        (GOOD, 1, []),
        (GOOD, 2, ["the provider accepted 2 messages, expected 1"]),
        ((), 0, 3),
        (GOOD[:2], 1, ["expected routed, delivered; came routed, sending"]),
        (GOOD[1:], 1, ["expected routed, delivered; came sending, delivered"]),
        (REFUSED, 1, ["expected routed, delivered; came routed, failed, exhausted"]),
        ((GOOD[0], event("delivered", channel="mms", form="media")), 1, ["expected sms/text, was mms/media"]),
    ],
)
def test_whatever_did_not_end_as_it_had_to_is_named(
    events: Sequence[DeliveryEvent], sent: int, problems: list[str] | int
) -> None:
    found = tale(*events).problems(sent)
    assert (len(found) if isinstance(problems, int) else found) == problems


def test_a_tale_is_told_at_its_expected_end_or_at_another_that_is_final() -> None:
    assert not tale().told
    assert not tale(*GOOD[:2]).told
    assert tale(*GOOD).told
    assert tale(*REFUSED).told


def test_it_says_why_in_the_words_of_the_decision_and_of_the_provider() -> None:
    assert tale(*GOOD).why() == "the country is US; the text fits"
    assert tale(*REFUSED).why() == (
        "the country is US; the text fits; twilio refused it: recipient's number is not valid (21211)"
    )
    assert tale(*GOOD).happened() == "SMS delivered"
    assert tale(*REFUSED).happened() == "SMS failed, no other way left: not_on_channel"


@pytest.mark.parametrize("terminal", [True, False])
def test_the_path_is_shown_as_it_grows_and_the_table_tells_good_from_bad(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, color_system=None)
    good, bad = tale(), tale(*REFUSED)
    show = show_on(console, [good], json_output=False)
    with show:
        show.said("started nothing")
        for each in GOOD:
            good.events.append(each)
            show.told(good)
    show.ended(Summary([Ending(good, 1, []), Ending(bad, 0, bad.problems(0))], 1.0, Path("/kept.log")))
    text = re.sub(r"\s+", " ", out.getvalue())
    assert "started nothing" in text
    assert "delivered" in text.partition("what was asked")[0]
    assert "SMS delivered the country is US; the text fits ok" in text
    assert "not ok" in text
    assert "one: expected routed, delivered; came routed, failed, exhausted" in text
    assert "1 of 2 ended as they had to" in text
    assert "/kept.log" in text

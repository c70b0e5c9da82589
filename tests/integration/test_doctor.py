"""The doctor at a whole Pointsman: what works is said to work, and what does not is named with what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from channels.port import Finding, Level
from channels.twilio.simulator.content import ContentTemplate
from router.clock import utc_now
from router.doctor import examine
from router.doctor.nats import findings as nats_findings
from router.doctor.permissions import finding as permissions_finding
from router.embedded import EmbeddedNats
from router.jetstream import JetStream
from router.published import Publications
from router.settings import Settings
from tests.integration.conftest import Start
from tests.integration.harness import ORDER_SHIPPED, SENDERS, Harness, router_settings
from tests.integration.secured import SecuredNats

pytestmark = pytest.mark.nats

SERVICE = "MG" + "0" * 31 + "1"
TOLL_FREE = {"name": "free", "kind": "toll-free", "channels": ["sms"], "from": "+18005550100", "countries": ["US"]}
SHORT = {"name": "short", "kind": "short-code", "channels": ["sms"], "from": "894546", "countries": ["US"]}
POOL = {"name": "pool", "kind": "messaging-service", "channels": ["sms"], "messaging_service_sid": SERVICE}


async def found(harness: Harness, **sections: Any) -> dict[str, Finding]:
    settings = Settings(**router_settings(harness.server.url, harness.port, **sections))
    return {each.what: each async for each in examine(settings, harness.environ)}


def levels(findings: Mapping[str, Finding], level: Level) -> set[str]:
    return {what for what, finding in findings.items() if finding.level is level}


async def test_a_whole_pointsman_has_nothing_that_fails(start: Start) -> None:
    harness = await start()
    given = harness.simulator.settings
    with_overrides = given.model_copy(update={"inbound_url": f"{given.inbound_url}#rc=5&rp=all"})
    harness.simulator.settings = with_overrides
    await harness.simulator.reset()
    findings = await found(harness, senders=[*SENDERS, TOLL_FREE, SHORT, POOL])
    assert levels(findings, Level.FAILURE) == set()
    assert {
        *(
            "configuration",
            "senders",
            "policy",
            "nats: version",
            "nats: permissions",
            "nats: JetStream",
            "nats: streams",
            "clock",
        ),
        *("twilio: account", "twilio: sender us: campaign", "twilio: sender free: verification"),
        *("twilio: sender pool: service", "twilio: sender wa: WhatsApp", "twilio: webhooks: round trip"),
        *(
            "twilio: sender us: inbound webhook",
            "twilio: sender pool: inbound webhook",
            "twilio: sender pool: campaign",
        ),
        *("twilio: sender short: short code", "twilio: sender short: inbound webhook"),
        *("twilio: sender wa: inbound webhook", "twilio: geo permissions: US"),
        "template order_shipped (en)",
    } <= levels(findings, Level.OK)
    assert all(finding.todo for finding in findings.values() if finding.level is not Level.OK)


async def test_looking_changes_nothing(start: Start) -> None:
    harness = await start()
    before = [(await harness.js.stream_info(name)).state.last_seq for name in ("DELIVERIES", "OUTBOX", "NOTIFICATIONS")]
    await found(harness)
    after = [(await harness.js.stream_info(name)).state.last_seq for name in ("DELIVERIES", "OUTBOX", "NOTIFICATIONS")]
    assert before == after
    assert harness.sent == []


@pytest.mark.parametrize(
    ("simulator", "sections", "what", "level"),
    [
        ({"campaign_status": "PENDING"}, {}, "twilio: sender us: campaign", Level.FAILURE),
        ({"toll_free_status": "IN_REVIEW"}, {}, "twilio: sender free: verification", Level.FAILURE),
        ({"owned": frozenset({"+447700900000"})}, {}, "twilio: sender us: number", Level.FAILURE),
        ({"inbound_url": "https://elsewhere.example/in"}, {}, "twilio: sender us: inbound webhook", Level.WARNING),
        ({"inbound_url": None}, {}, "twilio: sender us: inbound webhook", Level.WARNING),
        (
            {"templates": (ContentTemplate(sid=ORDER_SHIPPED, text="x", status="rejected"),)},
            {},
            "template order_shipped (en)",
            Level.WARNING,
        ),
        ({}, {"http": {"public_url": "http://notify.example"}}, "http.public_url", Level.WARNING),
        ({}, {"nats": {"replicas": 3}}, "nats: copies", Level.WARNING),
    ],
)
async def test_what_is_amiss_is_named(
    start: Start, simulator: dict[str, Any], sections: dict[str, Any], what: str, level: Level
) -> None:
    harness = await start(simulator=simulator)
    finding = (await found(harness, senders=[*SENDERS, TOLL_FREE], **sections))[what]
    assert (finding.level, bool(finding.todo)) == (level, True), finding


async def test_a_sender_that_says_it_is_not_registered_is_no_failure(start: Start) -> None:
    harness = await start(simulator={"campaign_status": "PENDING"})
    senders = [{**SENDERS[0], "registered": False}, *SENDERS[1:]]
    finding = (await found(harness, senders=senders))["twilio: sender us: campaign"]
    assert (finding.level, finding.todo) == (Level.OK, "")


async def test_wrong_credentials_are_said_once(start: Start) -> None:
    harness = await start()
    settings = Settings(**router_settings(harness.server.url, harness.port))
    wrong = {**harness.environ, "TWILIO_AUTH_TOKEN": "wrong"}
    findings = [each async for each in examine(settings, wrong)]
    account = next(each for each in findings if each.what == "twilio: account")
    assert (account.level, account.says) == (Level.FAILURE, "Twilio refuses the credentials")
    assert not any(each.what.startswith("twilio: sender") for each in findings)
    round_trip = next(each for each in findings if each.what == "twilio: webhooks: round trip")
    assert "refuses the signature" in round_trip.says
    assert "wrong" not in str(findings)


async def test_without_nats_and_without_a_router_it_says_what_to_start(
    nats_server: EmbeddedNats, tmp_path: Path
) -> None:
    await nats_server.stop()
    broken = tmp_path / "policy.toml"
    broken.write_text('version = "1"\n[[routes]]\nname = "r"\nplan = { chanel = "sms" }\n')
    given = router_settings(nats_server.url, 9, policy={"file": str(broken)})
    environ = {
        "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TWILIO_AUTH_TOKEN": "x",
        "TWILIO_API_BASE_URL": "http://127.0.0.1:9",
    }
    findings = {each.what: each async for each in examine(Settings(**given), environ)}
    assert {"nats", "policy", "twilio: account", "twilio: webhooks: round trip"} <= levels(findings, Level.FAILURE)
    assert ":4: " in findings["policy"].says


async def test_without_variables_it_says_which_is_missing(harness: Harness) -> None:
    settings = Settings(**router_settings(harness.server.url, harness.port))
    findings = [each async for each in examine(settings, {})]
    assert "TWILIO_ACCOUNT_SID" in next(each for each in findings if each.what == "twilio: account").says


async def test_a_published_policy_is_read_and_checked(start: Start) -> None:
    harness = await start()
    bucket = {"policy": {"bucket": True}}
    nothing = (await found(harness, **bucket))["policy"]
    assert (nothing.level, "none is published" in nothing.says) == (Level.WARNING, True)

    js = JetStream(harness.client)
    await js.start()
    publications = Publications(js, "")
    shipped = files("policies").joinpath("default.toml").read_text("utf-8")
    for text, level, says in (
        (shipped, Level.OK, "every situation has a route"),
        (shipped.replace('channel = "sms"', 'channel = "fax"', 1), Level.WARNING, "published policy 2:"),
        ('version = "1"\n[[routes]]\nname = "r"\nplan = { chanel = "sms" }\n', Level.FAILURE, "published policy 3:4: "),
    ):
        await publications.publish(text, "1", utc_now())
        finding = (await found(harness, **bucket))["policy"]
        assert (finding.level, says in finding.says, bool(finding.todo)) == (level, True, level is not Level.OK)
    await harness.js.publish("$KV.policy.policy.current", b"[]")
    unreadable = (await found(harness, **bucket))["policy"]
    assert (unreadable.level, unreadable.says) == (Level.FAILURE, "what is published cannot be read")
    await js.stop()


async def test_what_nats_does_not_let_the_router_do_is_named_before_it_is_needed() -> None:
    async with SecuredNats() as secured:
        for user, level in (("router", Level.OK), ("shop", Level.WARNING)):
            settings = Settings(nats=secured.settings(user))
            lines = {each.what: each async for each in nats_findings(settings)}
            assert lines["nats: permissions"].level is level
            assert "USER.INFO" in lines["nats: permissions"].says or level is Level.OK


async def test_an_inbox_that_this_user_may_not_listen_to_is_named() -> None:
    async with SecuredNats() as secured:
        settings = Settings(nats={**secured.settings("router"), "inbox": "_INBOX"})
        connected = await secured.connect("router")
        reply = await connected.request("$SYS.REQ.USER.INFO", b"", timeout=30)
        finding = permissions_finding(settings, json.loads(reply.data))
        assert (finding.level, finding.says) == (Level.FAILURE, "this user may not subscribe to _INBOX.>")

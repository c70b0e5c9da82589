"""Streams, buckets and consumers: made at start, brought up to date, and a conflict named instead of worked around."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StreamConfig

from channels.model import Lane
from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
from router import topology
from router.app import Router, StartError
from router.embedded import EmbeddedNats
from router.settings import Settings
from tests.integration.harness import router_settings

pytestmark = pytest.mark.nats

DAY = 86_400.0  # seconds


@pytest.fixture
async def js(nats_server: EmbeddedNats) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(nats_server.url)
    yield client.jetstream()
    await client.close()


def _router(server: EmbeddedNats, **sections: Any) -> Router:
    settings = Settings(**router_settings(server.url, 0, **sections))
    return Router(settings, {"TWILIO_ACCOUNT_SID": DEMO_ACCOUNT_SID, "TWILIO_AUTH_TOKEN": DEMO_AUTH_TOKEN})


async def _start_and_stop(server: EmbeddedNats, **sections: Any) -> None:
    router = _router(server, **sections)
    await router.start()
    await router.stop()


async def test_a_first_start_makes_everything_the_contract_names(
    nats_server: EmbeddedNats, js: JetStreamContext
) -> None:
    await _start_and_stop(nats_server, streams={"bucket_prefix": "eu-"})

    infos = {info.config.name: info.config for info in await js.streams_info()}
    assert {"NOTIFICATIONS", "OUTBOX", "DELIVERIES", "TIMERS", "INBOUND", "DEADLETTERS"} <= infos.keys()
    assert {f"KV_eu-{bucket}" for bucket in topology.BUCKETS} <= infos.keys()
    assert infos["OUTBOX"].retention == infos["TIMERS"].retention == RetentionPolicy.WORK_QUEUE
    for name in ("NOTIFICATIONS", "DELIVERIES", "INBOUND", "DEADLETTERS"):
        assert (infos[name].retention, infos[name].max_age) == (RetentionPolicy.LIMITS, 30 * DAY)


async def test_an_age_that_was_changed_in_the_configuration_is_changed_on_the_stream(
    nats_server: EmbeddedNats, js: JetStreamContext
) -> None:
    await _start_and_stop(nats_server)
    await _start_and_stop(nats_server, streams={"deliveries_max_age": 7})

    assert (await js.stream_info("DELIVERIES")).config.max_age == 7 * DAY
    assert (await js.stream_info("NOTIFICATIONS")).config.max_age == 30 * DAY


async def test_what_an_operator_tuned_is_left_alone(nats_server: EmbeddedNats, js: JetStreamContext) -> None:
    await _start_and_stop(nats_server)
    config = (await js.stream_info("NOTIFICATIONS")).config
    config.max_bytes, config.description = 123_456_789, "ours"
    await js.update_stream(config)

    await _start_and_stop(nats_server, streams={"notifications_max_age": 3})

    config = (await js.stream_info("NOTIFICATIONS")).config
    assert (config.max_bytes, config.description, config.max_age) == (123_456_789, "ours", 3 * DAY)


async def test_a_new_wait_reaches_the_consumers(nats_server: EmbeddedNats, js: JetStreamContext) -> None:
    await _start_and_stop(nats_server)
    await _start_and_stop(nats_server, dispatch={"ack_wait": 9})

    config = (await js.consumer_info("NOTIFICATIONS", topology.intake(Lane.NORMAL))).config
    assert (config.ack_wait, config.max_deliver) == (9, -1)


async def test_a_stream_of_other_retention_stops_the_start_with_what_differs(
    nats_server: EmbeddedNats, js: JetStreamContext
) -> None:
    await js.add_stream(
        StreamConfig(name="DELIVERIES", subjects=["deliveries.>"], retention=RetentionPolicy.WORK_QUEUE)
    )

    with pytest.raises(StartError) as failure:
        await _router(nats_server).start()

    assert str(failure.value) == (
        "stream DELIVERIES exists and conflicts: retention is 'workqueue' and must be 'limits'. "
        "Rename or remove it, then start again."
    )


async def test_a_stream_that_holds_our_subjects_under_another_name_stops_the_start(
    nats_server: EmbeddedNats, js: JetStreamContext
) -> None:
    await js.add_stream(StreamConfig(name="OLD", subjects=["notifications.>"]))

    with pytest.raises(StartError, match=r"stream NOTIFICATIONS cannot be made as the router needs it: .*overlap"):
        await _router(nats_server).start()


async def test_more_replicas_than_servers_stop_the_start(nats_server: EmbeddedNats) -> None:
    with pytest.raises(StartError, match=r"stream \w+ cannot be made as the router needs it: .*replicas"):
        await _router(nats_server, nats={"replicas": 3}).start()


@pytest.mark.slow  # the first connection is given ten seconds
async def test_no_server_stops_the_start_with_what_to_do(nats_server: EmbeddedNats) -> None:
    await nats_server.stop()

    with pytest.raises(StartError, match=r"127\.0\.0\.1:\d+"):
        await _router(nats_server).start()


async def test_what_the_one_consumer_of_wakes_had_taken_before_there_were_several_is_not_lost(
    nats_server: EmbeddedNats, js: JetStreamContext
) -> None:
    settings = {"dispatch": {"ack_wait": 2}}
    await _start_and_stop(nats_server, **settings)
    for name in (topology.SEARCH, topology.STUCK_AGAIN):
        await js.delete_consumer("TIMERS", name)
    config = (await js.consumer_info("TIMERS", topology.WAKE)).config
    config.filter_subjects, config.filter_subject = None, "wake.>"
    await js.add_consumer("TIMERS", config)
    for number in range(3):
        await js.publish(f"wake.reconcile.shop.n-{number}", b"", headers={"Pointsman-Attempt": "1"})
    subscription = await js.pull_subscribe_bind(topology.WAKE, "TIMERS")
    await subscription.fetch(1)
    await subscription.unsubscribe()

    router = _router(nats_server, **settings)
    await router.start()
    async with asyncio.timeout(20):
        while (await js.stream_info("TIMERS")).state.messages:
            await asyncio.sleep(0.05)
    await router.stop()

"""What is asked of the NATS server, without one."""

from __future__ import annotations

import pytest

from router import topology
from router.settings import Settings


@pytest.mark.parametrize("version", [(2, 12, 5), (2, 12, 11), (2, 13, 0), (3, 0, 0)])
def test_a_server_that_is_new_enough_is_taken(version: tuple[int, int, int]) -> None:
    topology.check_server(version)


@pytest.mark.parametrize("version", [(2, 12, 4), (2, 11, 99), (1, 99, 99)])
def test_an_older_server_is_refused_with_its_version_and_ours(version: tuple[int, int, int]) -> None:
    with pytest.raises(topology.TopologyError) as failure:
        topology.check_server(version)
    words = str(failure.value)
    assert words.startswith(f"The NATS server is {'.'.join(map(str, version))}; Pointsman needs 2.12.5 or later")


def test_every_stream_takes_the_configured_replicas() -> None:
    configs = [plan.config(3) for plan in topology.streams(Settings())]
    assert {config["num_replicas"] for config in configs} == {3}
    assert all(config["allow_direct"] for config in configs)


def test_every_sender_has_a_consumer_for_each_lane() -> None:
    settings = Settings(senders=[{"name": "us", "kind": "long-code", "channels": ["sms"], "from": "+15017122661"}])
    filters = {
        config["durable_name"]: config.get("filter_subject")
        for stream, config in topology.consumers(settings)
        if stream == "OUTBOX"
    }
    assert filters == {
        "dispatch-us-urgent": "outbox.us.urgent.>",
        "dispatch-us-normal": "outbox.us.normal.>",
        "dispatch-us-bulk": "outbox.us.bulk.>",
    }


def test_the_server_never_gives_a_message_up() -> None:
    assert {config["max_deliver"] for _, config in topology.consumers(Settings())} == {-1}

"""NATS: reached, new enough, with the streams that the router needs and a clock that agrees with ours."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from channels.port import Finding, Level
from router import topology
from router.clock import utc_now
from router.connection import Connection, ConnectionFailedError
from router.doctor import configuration, permissions
from router.jetstream import JetStream, StoreError
from router.published import Publications
from router.servers import addresses
from router.settings import Settings
from router.topology import TopologyError

#: Seconds by which the clocks may differ: sessions, expiry and quiet hours are decided by ours, schedules by NATS's.
_SKEW = 2.0
_PATIENCE = 3.0  #: seconds for an answer
_NOT_THERE = 404
_NO_POLICY = Finding(
    "policy",
    Level.WARNING,
    "none is published yet, so routers decide by the shipped one",
    "pointsman policy publish FILE",
)


async def findings(settings: Settings) -> AsyncGenerator[Finding, None]:
    """What depends on a connection is left out where there is none."""
    connection = Connection(settings.nats)
    try:
        await connection.open()
    except ConnectionFailedError as exc:
        yield Finding("nats", Level.FAILURE, str(exc), "start NATS, or correct [nats]")
        return
    try:
        async for finding in _connected(connection.client, settings):
            yield finding
    finally:
        await connection.close()


async def _connected(client: Client, settings: Settings) -> AsyncGenerator[Finding, None]:
    version = client.connected_server_version
    try:
        topology.check_server((version.major, version.minor, version.patch))
    except TopologyError as exc:
        yield Finding("nats: version", Level.FAILURE, str(exc), "upgrade the server")
        return
    yield Finding(
        "nats: version", Level.OK, f"{version.major}.{version.minor}.{version.patch} at {addresses(settings.nats)}"
    )
    yield permissions.finding(settings, await _asked(client, permissions.USER_INFO))
    account = await _asked(client, "$JS.API.INFO")
    if account is None or "error" in account:
        says = "JetStream does not answer: it is off, this user may not ask it, or a cluster has no leader yet"
        yield Finding(
            "nats: JetStream", Level.FAILURE, says, "switch it on, and give the router its permissions (deploy/nats)"
        )
        return
    yield Finding("nats: JetStream", Level.OK, "it answers")
    streams = {
        plan.name: await _asked(client, f"$JS.API.STREAM.INFO.{plan.name}") for plan in topology.streams(settings)
    }
    yield _streams(streams)
    if present := {name: info for name, info in streams.items() if info is not None and "error" not in info}:
        yield _copies(present, settings.nats.replicas)
        yield _clock(next(iter(present.values())))
    if settings.policy.bucket:
        bucket = f"KV_{settings.streams.bucket_prefix}{topology.POLICY}"
        yield await _policy(client, settings) if bucket in present else _NO_POLICY


async def _asked(client: Client, subject: str) -> Mapping[str, Any] | None:
    """None: no answer, which is also what a user gets who may not ask."""
    try:
        reply = await client.request(subject, b"", timeout=_PATIENCE)
    except (NatsError, TimeoutError):
        return None
    answer: Mapping[str, Any] = json.loads(reply.data)
    return answer


async def _policy(client: Client, settings: Settings) -> Finding:
    """The one that is published."""
    js = JetStream(client, timeout=_PATIENCE, replicated=settings.nats.replicas > 1)
    await js.start()
    try:
        current = await Publications(js, settings.streams.bucket_prefix).current()
    except StoreError as exc:
        return Finding("policy", Level.WARNING, f"it could not be read from NATS: {exc}", "see the lines above")
    except (ValueError, KeyError, TypeError):
        return Finding("policy", Level.FAILURE, "what is published cannot be read", "publish it anew")
    finally:
        await js.stop()
    if current is None:
        return _NO_POLICY
    name = f"published policy {current.number}"
    return configuration.policy(current.text, name, settings, "correct it, and publish it anew")


def _streams(streams: Mapping[str, Mapping[str, Any] | None]) -> Finding:
    what = "nats: streams"
    silent = sorted(name for name, info in streams.items() if info is None)
    missing = sorted(name for name, info in streams.items() if info and info.get("error", {}).get("code") == _NOT_THERE)
    if silent:
        todo = "give this user the permissions of deploy/nats/permissions/router.conf"
        return Finding(what, Level.FAILURE, f"no answer about {', '.join(silent)}", todo)
    if len(missing) == len(streams):
        return Finding(what, Level.OK, "none is there yet: the first router that starts makes them")
    if missing:
        todo = "start a router, which makes what is missing; find out who removed it"
        return Finding(what, Level.WARNING, f"{', '.join(missing)} missing", todo)
    return Finding(what, Level.OK, f"all {len(streams)} streams and buckets are there")


def _copies(streams: Mapping[str, Mapping[str, Any]], wanted: int) -> Finding:
    what = "nats: copies"
    other = sorted(name for name, info in streams.items() if info["config"]["num_replicas"] != wanted)
    if other:
        says = f"{', '.join(other)} should have {wanted} and do not"
        return Finding(what, Level.WARNING, says, "start a router: it changes them to nats.replicas")
    behind = sorted(
        name
        for name, info in streams.items()
        for peer in (info.get("cluster") or {}).get("replicas") or []
        if not peer.get("current")
    )
    if behind:
        return Finding(what, Level.WARNING, f"a copy of {behind[0]} is behind", "look at the servers of the cluster")
    alone = "; one server alone: read docs/operations.md on syncing" if wanted == 1 else ""
    return Finding(what, Level.OK, f"{wanted} of each{alone}")


def _clock(info: Mapping[str, Any]) -> Finding:
    # Nanoseconds, of which Python keeps six digits.
    skew = (datetime.fromisoformat(info["ts"]) - utc_now()).total_seconds()
    if abs(skew) > _SKEW:
        says = f"the clocks of NATS and of this machine differ by {abs(skew):.0f} s"
        return Finding("clock", Level.FAILURE, says, "let both keep time by NTP: sessions and quiet hours depend on it")
    return Finding("clock", Level.OK, "it agrees with that of NATS")

"""The policy document changes under a running router: taken whole or not at all, in every router, without a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from channels.testing import until
from policies.document import load
from policies.pauses import Kind
from router.app import StartError
from router.clock import utc_now
from router.jetstream import JetStream
from router.published import KEPT, Publications
from router.switches import Switch, Switches
from tests.integration.conftest import Start
from tests.integration.harness import Harness

pytestmark = pytest.mark.nats

SMS = '[[routes]]\nname = "text"\nplan = [{ channel = "sms" }]\n'


def a_document(label: str, routes: str = SMS) -> str:
    return f'version = "{label}"\n\n{routes}'


def in_force(harness: Harness) -> set[str]:
    return {router.health.notes()["policy"].partition("+")[0] for router in harness.routers}


def refused(harness: Harness) -> list[str]:
    return [router.health.notes().get("policy_refused", "") for router in harness.routers]


async def decided_by(harness: Harness, notification_id: str) -> str:
    await harness.publish(notification_id)
    event = await harness.wait_for(notification_id, "routed")
    return str(event.body["decision"]["policy"])


async def test_a_changed_file_is_in_force_within_seconds_and_decisions_name_it(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(a_document("one"))
    harness = await start(policy={"file": file})
    await harness.start_router(policy={"file": file})
    assert await decided_by(harness, "n-1") == load(a_document("one"), "").version

    file.write_text(a_document("two"))

    await until(lambda: in_force(harness) == {"two"})
    assert await decided_by(harness, "n-2") == load(a_document("two"), "").version


async def test_a_broken_file_is_refused_by_line_and_the_old_policy_stays(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(a_document("one"))
    harness = await start(policy={"file": file})

    file.write_text(a_document("two").replace('"sms"', '"sms", form = "fax"'))

    await until(lambda: refused(harness) != [""])
    assert f"{file}:5: routes[0].plan[0].form[0]: should be 'text'" in refused(harness)[0]
    async with harness.http.get(f"{harness.routers[0].admin_url}/readyz") as answer:
        assert answer.status == 200
        assert (await answer.json())["notes"]["policy_refused"] == refused(harness)[0]
    async with harness.http.get(f"{harness.routers[0].admin_url}/metrics") as answer:
        text = await answer.text()
        assert "pointsman_policy_refused 1.0" in text
        assert f'pointsman_policy_info{{version="{load(a_document("one"), "").version}"}} 1.0' in text
    assert await decided_by(harness, "n-1") == load(a_document("one"), "").version

    file.unlink()
    await until(lambda: "cannot be read" in refused(harness)[0])
    file.write_text(a_document("one"))
    await until(lambda: refused(harness) == [""])
    assert in_force(harness) == {"one"}


async def test_editors_that_truncate_or_rename_never_put_half_a_document_in_force(start: Start, tmp_path: Path) -> None:
    """The first half is a whole policy by itself, so only waiting tells that it is half of one."""
    file = tmp_path / "policy.toml"
    file.write_text(a_document("one"))
    harness = await start(policy={"file": file})
    seen: set[str] = set()
    stop = asyncio.Event()

    async def watch() -> None:
        while not stop.is_set():
            seen.update(in_force(harness), refused(harness))
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    guard = '[guards.paused]\ncategories = "marketing"\n'
    with file.open("w") as writing:  # empties it
        await asyncio.sleep(0.3)
        writing.write(a_document("half"))
        writing.flush()
        await asyncio.sleep(0.3)
        writing.write(guard.replace("marketing", "otp"))
    file.write_text(a_document("whole") + guard)
    await until(lambda: in_force(harness) == {"whole"})
    aside = tmp_path / "policy.toml.new"
    aside.write_text(a_document("renamed") + guard)
    aside.replace(file)
    await until(lambda: in_force(harness) == {"renamed"})
    await asyncio.sleep(0.1)
    stop.set()
    await watching

    assert seen == {"", "one", "whole", "renamed"}


async def test_a_published_document_is_in_force_in_every_router(start: Start) -> None:
    harness = await start(policy={"bucket": True})
    await harness.start_router(policy={"bucket": True})
    publications = await _publications(harness)
    assert in_force(harness) == {"2026-11-01"}  # the shipped one, while there is none

    await publications.publish(a_document("one"), "one+1", utc_now())
    await until(lambda: in_force(harness) == {"one"})
    await publications.publish('version = "two"\nroutes = []\n', "two+2", utc_now())
    await until(lambda: "" not in refused(harness))
    assert in_force(harness) == {"one"}
    assert refused(harness)[0] == "published policy 2:2: routes: is an empty list: leave the key out instead"
    await publications.publish(a_document("three"), "three+3", utc_now())
    await until(lambda: in_force(harness) == {"three"})
    assert refused(harness) == ["", ""]

    await harness.start_router(policy={"bucket": True})
    assert in_force(harness) == {"three"}


async def test_what_nobody_can_read_in_the_bucket_keeps_no_pause_from_being_heard(start: Start) -> None:
    harness = await start(policy={"bucket": True})
    for key in ("policy.current", "pause.channel.sms", f"template.HX{0:032d}"):
        await harness.js.publish(f"$KV.policy.{key}", b"no JSON")
    await until(lambda: "cannot be read" in refused(harness)[0])
    assert "~" not in harness.routers[0].health.notes()["policy"]

    js = JetStream(harness.client, timeout=10)
    await js.start()
    await Switches(js, "").throw(Switch(Kind.SOURCE, "shop", utc_now()))

    await until(lambda: "~" in harness.routers[0].health.notes()["policy"])
    await harness.publish("n-1")
    await harness.wait_for("n-1", "suppressed")


async def test_publications_are_numbered_and_kept(start: Start) -> None:
    harness = await start()
    publications = await _publications(harness)
    texts = [f"document {n}" for n in range(KEPT + 3)]
    published = [await publications.publish(text, text, utc_now()) for text in texts]
    again = await publications.publish(texts[-1], texts[-1], utc_now())

    assert [each.number for each in published] == list(range(1, len(texts) + 1))
    assert again == published[-1]
    assert [each.text for each in await publications.history()] == texts[:-KEPT:-1] + texts[-KEPT : -KEPT + 1]
    assert await publications.numbered(1) is None
    assert await publications.current() == published[-1]


async def test_two_that_publish_at_once_both_stay_in_the_history(start: Start) -> None:
    harness = await start()
    publications = await _publications(harness)
    await asyncio.gather(*(publications.publish(f"document {n}", "v", utc_now()) for n in range(5)))

    history = await publications.history()
    assert [each.number for each in history] == [5, 4, 3, 2, 1]
    assert {each.text for each in history} == {f"document {n}" for n in range(5)}


async def test_a_router_does_not_start_with_a_broken_document(start: Start) -> None:
    harness = await start()
    await (await _publications(harness)).publish("version = 1", "1", utc_now())

    with pytest.raises(StartError, match="published policy 1:1: version: should be a valid string"):
        await harness.start_router(policy={"bucket": True})


async def _publications(harness: Harness) -> Publications:
    js = JetStream(harness.client, timeout=10)
    await js.start()
    return Publications(js, "")

"""`/simulator/*`, and the simulator as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from channels.twilio.simulator import ContentTemplate, Simulator, SimulatorSettings
from channels.twilio.simulator.__main__ import main
from tests.channels.twilio.simulator.support import (
    BOUND,
    SENDER,
    TEMPLATE,
    US,
    WA_RECIPIENT,
    WA_SENDER,
    Api,
    Start,
    settings,
    until,
)


async def test_messages_show_everything_that_was_accepted(start: Start) -> None:
    api = await start()
    sid = (await api.text(StatusCallback="http://127.0.0.1:1/s?n=a.b#rc=0", ValidityPeriod="60")).json["sid"]
    api.simulator.skip(1)
    [message] = (await api.control("messages")).json["messages"]
    times = {name: message.pop(name) for name in ("created", "updated", "history")}
    assert message == {
        "sid": sid,
        "ordinal": 1,
        "direction": "outbound-api",
        "from": SENDER,
        "to": US,
        "messaging_service_sid": None,
        "body": "hi",
        "media": [],
        "content_sid": None,
        "status": "delivered",
        "error_code": None,
        "status_callback": "http://127.0.0.1:1/s?n=a.b#rc=0",
        "params": {
            "To": [US],
            "From": [SENDER],
            "Body": ["hi"],
            "StatusCallback": ["http://127.0.0.1:1/s?n=a.b#rc=0"],
            "ValidityPeriod": ["60"],
        },
    }
    assert [entry["status"] for entry in times["history"]] == ["queued", "sent", "delivered"]


async def test_messages_can_be_read_in_portions(start: Start) -> None:
    api = await start()
    for n in range(5):
        await api.text(f"+1555123000{n}")
    portion = await api.control("messages?after=1&limit=2")
    assert [message["ordinal"] for message in portion.json["messages"]] == [2, 3]
    one = await api.control("messages?to=%2B15551230004")
    assert [message["ordinal"] for message in one.json["messages"]] == [5]
    assert (await api.control("messages?limit=0")).status == 400


async def test_stats_count(start: Start) -> None:
    api = await start(faults={"scripts": {US: ["throttle"]}})
    await api.text()
    await api.text()
    api.simulator.skip(60)
    stats = (await api.control("stats")).json
    assert (stats["accepted"], stats["kept"], stats["by_status"]) == (1, 1, {"delivered": 1})
    assert stats["counts"] == {"requests": 2, "fault_throttle": 1, "refused_20429": 1}


async def test_sessions_opt_outs_templates_and_the_clock(start: Start) -> None:
    api = await start()
    pair = {"from": WA_SENDER, "to": WA_RECIPIENT}
    assert (await api.control("sessions", pair)).json == {"open": True}
    await api.whatsapp(Body="free")
    await until(lambda: api.simulator.messages[-1].status == "read")
    assert (await api.control("sessions", pair | {"open": False})).json == {"open": False}
    await api.whatsapp(Body="closed")
    await until(lambda: api.simulator.messages[-1].error_code == 63016)

    assert (await api.control("opt-outs", {"from": SENDER, "to": US})).json == {"opted_out": True}
    assert (await api.text()).code == 21610
    await api.control("opt-outs", {"from": SENDER, "to": US, "opted_out": False})
    assert (await api.text()).status == 201

    template = ContentTemplate(sid=TEMPLATE, text="Hi", status="paused")
    assert (await api.control("templates", template.model_dump())).json == template.model_dump()
    await api.whatsapp(ContentSid=TEMPLATE)
    await until(lambda: api.simulator.messages[-1].error_code == 63041)

    before = api.simulator.now()
    assert (await api.control("clock", {"advance": 86400})).json["now"] >= before + 86400
    assert (await api.control("clock", {"advance": -1})).status == 400


def test_secrets_are_not_shown() -> None:
    shown = repr(SimulatorSettings(auth_token="auth-secret", api_keys={"SK1": "key-secret"}))
    assert "auth-secret" not in shown
    assert "key-secret" not in shown


async def test_what_is_set_before_the_start_holds() -> None:
    simulator = Simulator(settings())
    simulator.set_opt_out(SENDER, US)
    async with simulator:
        assert simulator.base_url.startswith("http://127.0.0.1:")
        async with Api(simulator) as api:
            assert (await api.text()).code == 21610


async def test_a_taken_port_is_an_oserror() -> None:
    async with Simulator() as first:
        port = int(first.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            await Simulator().start(port=port)


async def test_as_a_process_it_says_where_it_listens_and_stops_on_sigterm(tmp_path: Path) -> None:
    (tmp_path / "faults.json").write_text(json.dumps({"scripts": {US: ["error_before"]}}))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "channels.twilio.simulator", "--port", "0", "--seed", "1"),
        *("--faults", str(tmp_path / "faults.json")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert line["event"] == "simulator.ready"
    async with aiohttp.ClientSession() as session, session.get(f"{line['base_url']}/simulator/faults") as response:
        assert (await response.json())["scripts"] == {US: ["error_before"]}
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), BOUND)
    assert (process.returncode, errors) == (0, b"")


def test_wrong_usage_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "faults.json").write_text('{"throttle": 3}')
    assert main(["--faults", str(tmp_path / "faults.json")]) == 2
    assert main(["--settings", str(tmp_path / "missing.json")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: faults.throttle: Input should be less than or equal to 1"
    assert second.startswith("error: [Errno 2]")


async def test_a_port_in_use_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    async with Simulator() as first:
        port = first.base_url.rpartition(":")[2]
        assert await asyncio.to_thread(main, ["--port", port]) == 1
    assert capsys.readouterr().err.startswith("error: cannot listen:")

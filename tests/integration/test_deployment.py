"""What deploy/ and compose.yaml start, without an engine: the same commands and the same NATS configuration."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from router.app import Router
from router.cli.app import app
from router.client import Pointsman
from router.embedded import find_binary
from router.permissions import API
from router.settings import Settings
from tests.integration.harness import US, Harness, router_settings
from tests.integration.secured import DEPLOY, SecuredCluster, free_ports

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = YAML(typ="safe").load(ROOT / "compose.yaml")
NATIVE = {name: each for name, each in COMPOSE["services"].items() if "build" in each}


def test_compose_keeps_to_the_compose_specification() -> None:
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            str(ROOT / "compose.yaml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_everything_mounted_is_there(name: str) -> None:
    volumes = COMPOSE["services"][name].get("volumes", [])
    hosted = [volume.split(":")[0] for volume in volumes if volume.startswith("./")]
    assert [path for path in hosted if not (ROOT / path).exists()] == []
    named = {volume.split(":")[0] for volume in volumes if not volume.startswith(".")}
    assert named <= set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", NATIVE)
def test_every_command_of_ours_exists_with_its_options(name: str) -> None:
    words = NATIVE[name].get("command", ["run"])
    command: Any = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize(
    "name", [name for name, each in NATIVE.items() if "POINTSMAN_NATS__URL" in each.get("environment", {})]
)
def test_every_environment_of_a_router_is_a_configuration(name: str) -> None:
    script = (
        "from router.settings import load; settings, _ = load(); print(settings.nats.servers, settings.console.enabled)"
    )
    # What has no value is passed on from the environment of whoever starts it.
    given = {"POINTSMAN_CONSOLE__ENABLED": "true", "POINTSMAN_CONSOLE_TOKEN": "ada=0123456789abcdef"}
    environ = {key: str(given[key] if value is None else value) for key, value in NATIVE[name]["environment"].items()}
    read = subprocess.run(
        [sys.executable, "-c", script],
        env={**environ, "POINTSMAN_CONFIG": str(ROOT / "deploy" / "pointsman.toml"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "nats://" in read.stdout
    assert read.stdout.strip().endswith("True")
    assert given.keys() <= environ.keys()


def test_containers_of_ours_have_no_more_rights_than_they_need() -> None:
    assert all(each["read_only"] for each in NATIVE.values())
    image = (ROOT / "deploy" / "Dockerfile").read_text()
    assert "USER 10001" in image
    assert "HEALTHCHECK" in image


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[list[str]]:
    """Three servers with the shipped configuration, as compose starts them; their addresses."""
    ports = free_ports(6)
    routes = "[" + ", ".join(f"nats://127.0.0.1:{port}" for port in ports[3:]) + "]"
    async with AsyncExitStack() as stack:
        for number, (client, peer) in enumerate(zip(ports[:3], ports[3:], strict=True), 1):
            environ = {
                "NATS_NAME": f"nats-{number}",
                "NATS_STORE": str(tmp_path / str(number)),
                "NATS_LISTEN": f"127.0.0.1:{client}",
                "NATS_CLUSTER": f"127.0.0.1:{peer}",
                "NATS_ROUTES": routes,
            }
            process = await asyncio.create_subprocess_exec(
                *(find_binary(), "-c", str(ROOT / "deploy" / "nats" / "cluster.conf")),
                env={**os.environ, **environ},
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            stack.push_async_callback(_stop, process)
        yield [f"nats://127.0.0.1:{port}" for port in ports[:3]]


@pytest.mark.nats
@pytest.mark.slow
async def test_the_shipped_cluster_keeps_three_copies_and_delivers(cluster: list[str]) -> None:
    async with Harness() as harness:
        given = router_settings(harness.server.url, harness.port)
        settings = Settings(**{**given, "nats": {"url": cluster, "replicas": 3, "timeout": 5}})
        router = await _started(settings, harness.environ)
        try:
            async with Pointsman.connect(cluster, source="shop") as shop:
                await shop.publish({"id": "a1", "to": US, "content": {"text": "hello"}})
                async with asyncio.timeout(20):
                    async for event in shop.deliveries("shop_events"):
                        if event.final:
                            break
                assert event.status == "delivered"
        finally:
            await router.stop()


@pytest.fixture
async def secured_cluster() -> AsyncIterator[SecuredCluster]:
    async with SecuredCluster() as cluster:
        yield cluster


@pytest.mark.nats
@pytest.mark.slow
async def test_the_secured_cluster_keeps_three_copies_and_lets_in_whom_it_knows(
    secured_cluster: SecuredCluster,
) -> None:
    async with Harness() as harness:
        given = router_settings(harness.server.url, harness.port)
        access = {**secured_cluster.settings("router"), "replicas": 3, "timeout": 5}
        router = await _started(Settings(**{**given, "nats": access}), harness.environ)
        try:
            options = secured_cluster.options("shop")
            async with Pointsman.connect(secured_cluster.servers, source="shop", api=API, **options) as shop:
                await shop.publish({"id": "a1", "to": US, "content": {"text": "hello"}})
                async with asyncio.timeout(20):
                    async for event in shop.deliveries("shop_events"):
                        if event.final:
                            break
                assert event.status == "delivered"
            client = await secured_cluster.connect("operator")
            answer = await client.request("$JS.API.STREAM.INFO.DELIVERIES", b"", timeout=30)
            assert len(json.loads(answer.data)["cluster"]["replicas"]) == 2
        finally:
            await router.stop()


@pytest.mark.nats
@pytest.mark.slow
async def test_a_certificate_is_not_enough_to_join_the_secured_cluster_as_a_server(
    secured_cluster: SecuredCluster,
) -> None:
    ours = {"nats-1", "nats-2", "nats-3"}
    assert await _until_are(secured_cluster, ours) == ours
    await secured_cluster.join("a-guess")
    await asyncio.sleep(3)  # it tries every second
    assert await secured_cluster.names() == ours
    await secured_cluster.join(secured_cluster.password())
    assert await _until_are(secured_cluster, {*ours, "stranger"}) == {*ours, "stranger"}


async def _until_are(cluster: SecuredCluster, wanted: set[str]) -> set[str]:
    async with asyncio.timeout(20):
        while (names := await cluster.names()) != wanted:
            await asyncio.sleep(0.2)
    return names


async def _started(settings: Settings, environ: dict[str, str]) -> Router:
    """A cluster elects its leader some seconds after its servers listen; a router is restarted until then."""
    async with asyncio.timeout(60):
        while True:
            router = Router(settings, environ)
            try:
                await router.start()
            except Exception:  # whatever it says while there is no leader
                await asyncio.sleep(1)
            else:
                return router


async def _stop(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    await process.wait()


def make_keys(folder: Path, *users: str) -> dict[str, str]:
    """As an operator makes them; the public keys that the server's environment is made of."""
    subprocess.run([sys.executable, str(DEPLOY / "make_keys.py"), str(folder), *users], check=True, capture_output=True)
    return dict(line.split("=", 1) for line in (folder / "public.env").read_text().splitlines())


def test_a_key_for_a_new_service_leaves_those_of_the_others(tmp_path: Path) -> None:
    before = make_keys(tmp_path)
    after = make_keys(tmp_path, "billing-eu")
    assert set(after) - set(before) == {"BILLING_EU_NKEY"}
    assert {name: after[name] for name in before} == before
    assert make_keys(tmp_path) == after


def test_secrets_are_readable_by_their_owner_alone_and_stay_out_of_git_and_images(tmp_path: Path) -> None:
    make_keys(tmp_path)
    kept = {*tmp_path.glob("*.nk"), tmp_path / "cluster.env"}
    assert {oct(file.stat().st_mode & 0o777) for file in kept} == {"0o600"}
    for file in (".gitignore", ".dockerignore"):
        assert {"keys/", ".env"} <= set((ROOT / file).read_text().splitlines())

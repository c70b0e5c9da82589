"""NATS with the configurations that are shipped for production: TLS, a key for everybody, permissions; one or three."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import nats
import trustme
from nats.aio.client import Client

from bench.processes import free_port
from router.embedded import find_binary

DEPLOY = Path(__file__).parents[2] / "deploy" / "nats"
USERS = ("router", "operator", "system", "shop", "crm")
_READY_WITHIN = 30.0  #: seconds


class SecuredNats:
    """`async with SecuredNats() as server: await server.connect("shop")`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pointsman-secured-"))
        self._processes: list[asyncio.subprocess.Process] = []
        self._clients: list[Client] = []
        self.servers: list[str] = []
        self.refused: list[str] = []  #: what the server refused whom, as it says it

    @property
    def url(self) -> str:
        """Of the first."""
        return self.servers[0]

    async def __aenter__(self) -> Self:
        self._make_certificates()
        await self._start({**os.environ, **await self._make_keys(), **self._files()})
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.close()
        for process in self._processes:
            if process.returncode is None:
                process.terminate()
            await process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _start(self, environ: Mapping[str, str]) -> None:
        (port,) = free_ports(1)
        await self._start_server(
            "secured.conf", {**environ, "NATS_LISTEN": f"127.0.0.1:{port}", "NATS_STORE": self._file("store")}
        )

    async def _start_server(self, file: str, environ: Mapping[str, str]) -> None:
        process = await asyncio.create_subprocess_exec(
            *(find_binary(), "-c", str(DEPLOY / file)),
            env=environ,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._processes.append(process)
        self.servers.append(f"tls://{environ['NATS_LISTEN']}")
        await self._listening(environ["NATS_LISTEN"], process)

    def settings(self, user: str) -> dict[str, Any]:
        """The section `[nats]` of this user's configuration."""
        files = {"ca": self._file("ca.pem"), "cert": self._file("client.pem"), "key": self._file("client.key")}
        return {"url": self.servers, "nkey": self._file(f"{user}.nk"), "inbox": inbox(user), "tls": files, "timeout": 1}

    async def connect(self, user: str) -> Client:
        """A plain client of this user; what it is refused is noted."""

        async def note(error: Exception) -> None:
            self.refused.append(str(error))

        client = await nats.connect(self.servers, **self.options(user), error_cb=note)
        self._clients.append(client)
        return client

    def options(self, user: str) -> dict[str, Any]:
        """Of `nats.connect`."""
        context = ssl.create_default_context(cafile=self._file("ca.pem"))
        context.load_cert_chain(self._file("client.pem"), self._file("client.key"))
        return {"tls": context, "nkeys_seed": self._file(f"{user}.nk"), "inbox_prefix": inbox(user)}

    def _make_certificates(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self._file("ca.pem"))
        for name, identity in (("server", "127.0.0.1"), ("client", "pointsman")):
            issued = authority.issue_cert(identity)
            issued.private_key_pem.write_to_path(self._file(f"{name}.key"))
            issued.cert_chain_pems[0].write_to_path(self._file(f"{name}.pem"))

    async def _make_keys(self) -> dict[str, str]:
        """As an operator makes them."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(DEPLOY / "make_keys.py"), str(self.folder)), stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        return dict(line.split("=", 1) for line in printed.decode().splitlines())

    def _files(self) -> dict[str, str]:
        files = {"NATS_CERT": "server.pem", "NATS_KEY": "server.key", "NATS_CA": "ca.pem"}
        return {name: self._file(file) for name, file in files.items()}

    async def _listening(self, listen: str, process: asyncio.subprocess.Process) -> None:
        host, _, port = listen.partition(":")
        async with asyncio.timeout(_READY_WITHIN):
            while True:
                assert process.returncode is None, "the shipped configuration does not start"
                try:
                    _, writer = await asyncio.open_connection(host, int(port))
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                return

    def _file(self, name: str) -> str:
        return str(self.folder / name)


class SecuredCluster(SecuredNats):
    """Three servers, which know each other by a secret."""

    async def _start(self, environ: Mapping[str, str]) -> None:
        ports = free_ports(6)
        self._peers = [f"127.0.0.1:{port}" for port in ports[3:]]
        password = self.password()
        for number, (client, peer) in enumerate(zip(ports[:3], ports[3:], strict=True), 1):
            own = {
                "NATS_NAME": f"nats-{number}",
                "NATS_STORE": self._file(f"store-{number}"),
                "NATS_LISTEN": f"127.0.0.1:{client}",
                "NATS_CLUSTER": f"127.0.0.1:{peer}",
                "NATS_CLUSTER_PASSWORD": password,
                "NATS_ROUTES": self._routes(password),
            }
            await self._start_server("cluster-secured.conf", {**environ, **own})

    def password(self) -> str:
        """Of servers, as `make_keys.py` made it."""
        return (self.folder / "cluster.env").read_text().strip().partition("=")[2]

    def _routes(self, password: str) -> str:
        return f"[{', '.join(f'tls://pointsman:{password}@{peer}' for peer in self._peers)}]"

    async def names(self) -> set[str]:
        """Of the servers that are one cluster now, as they tell an administrator."""
        client = await self.connect("system")
        answers = await client.subscribe(client.new_inbox())
        await client.publish("$SYS.REQ.SERVER.PING", reply=answers.subject)
        found = set[str]()
        with suppress(TimeoutError):
            while True:
                found.add(json.loads((await answers.next_msg(timeout=0.5)).data)["server"]["name"])
        return found

    async def join(self, password: str) -> None:
        """Somebody with the certificate of a service starts one more server."""
        client, peer = free_ports(2)
        files = {"cert_file": "client.pem", "key_file": "client.key", "ca_file": "ca.pem"}
        tls = ", ".join(f'{name}: "{self._file(file)}"' for name, file in files.items())
        config = self.folder / "stranger.conf"
        config.write_text(
            f'server_name: "stranger"\nlisten: "127.0.0.1:{client}"\ncluster {{ name: "pointsman", '
            f'listen: "127.0.0.1:{peer}", routes: {self._routes(password)}, tls: {{ {tls} }} }}\n'
            "accounts { SYSTEM {} }\nsystem_account: SYSTEM\n"
        )
        process = await asyncio.create_subprocess_exec(
            *(find_binary(), "-c", str(config)), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        self._processes.append(process)
        await self._listening(f"127.0.0.1:{client}", process)


def free_ports(count: int) -> list[int]:
    """Nobody listens there, and no two are the same."""
    found = set[int]()
    while len(found) < count:
        found.add(free_port())
    return list(found)


def inbox(user: str) -> str:
    """Where this user's permissions let answers come in."""
    return "_INBOX_pointsman" if user == "router" else f"_INBOX_{user}"

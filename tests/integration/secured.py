"""A NATS server with the configuration that is shipped for production: TLS, a key for everybody, permissions."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import nats
import trustme
from nats.aio.client import Client

from router.embedded import find_binary

DEPLOY = Path(__file__).parents[2] / "deploy" / "nats"
USERS = ("router", "operator", "system", "shop", "crm")
_READY_WITHIN = 15.0  #: seconds


class SecuredNats:
    """`async with SecuredNats() as server: await server.connect("shop")`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pointsman-secured-"))
        self._process: asyncio.subprocess.Process | None = None
        self._clients: list[Client] = []
        self.url = ""
        self.refused: list[str] = []  #: what the server refused whom, as it says it

    async def __aenter__(self) -> Self:
        self._make_certificates()
        environ = {**os.environ, **await self._make_keys(), **self._places()}
        self._process = await asyncio.create_subprocess_exec(
            *(find_binary(), "-c", str(DEPLOY / "secured.conf")),
            env=environ,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self.url = f"tls://{environ['NATS_LISTEN']}"
        await self._listening(environ["NATS_LISTEN"])
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.close()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def settings(self, user: str) -> dict[str, Any]:
        """The section `[nats]` of this user's configuration."""
        files = {"ca": self._file("ca.pem"), "cert": self._file("client.pem"), "key": self._file("client.key")}
        return {"url": self.url, "nkey": self._file(f"{user}.nk"), "inbox": inbox(user), "tls": files, "timeout": 1}

    async def connect(self, user: str) -> Client:
        """A plain client of this user; what it is refused is noted."""

        async def note(error: Exception) -> None:
            self.refused.append(str(error))

        client = await nats.connect(self.url, **self.options(user), error_cb=note)
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

    def _places(self) -> dict[str, str]:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        files = {"NATS_CERT": "server.pem", "NATS_KEY": "server.key", "NATS_CA": "ca.pem", "NATS_STORE": "store"}
        return {"NATS_LISTEN": f"127.0.0.1:{port}", **{name: self._file(file) for name, file in files.items()}}

    async def _listening(self, listen: str) -> None:
        host, _, port = listen.partition(":")
        async with asyncio.timeout(_READY_WITHIN):
            while True:
                assert self._process is not None
                assert self._process.returncode is None, "the shipped configuration does not start"
                try:
                    _, writer = await asyncio.open_connection(host, int(port))
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                return

    def _file(self, name: str) -> str:
        return str(self.folder / name)


def inbox(user: str) -> str:
    """Where this user's permissions let answers come in."""
    return "_INBOX_pointsman" if user == "router" else f"_INBOX_{user}"

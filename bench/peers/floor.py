"""The bare floor: what sending costs when nothing is promised. One process, no policy, no ledger, no de-duplication.

Pull from JetStream with nats-py, the SDK's `create_async` over a lean HTTP client, one event published, acknowledge.
Written from the public documentation of nats-py, of Twilio's SDK (its `AsyncHttpClient` is meant to be replaced:
https://github.com/twilio/twilio-python/blob/main/advanced-examples/custom-http-client.md) and of aiohttp.

    python -m bench.peers.floor nats://127.0.0.1:4222 http://127.0.0.1:8081
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import signal
import sys
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import nats
import uvloop
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client
from yarl import URL

STREAM, EVENTS = "FLOOR", "FLOOREVENTS"
SUBJECT, OUTCOMES = "floor.normal.shop", "floorevents.>"
ACCOUNT, TOKEN, SENDER = "AC" + "0" * 32, "0" * 32, "+15017122661"
_BATCH, _IN_FLIGHT = 100, 64


class LeanHttpClient(AsyncHttpClient):  # type: ignore[misc]  # the SDK ships no types
    """One session, the body encoded once, nothing logged."""

    def __init__(self, base_url: str) -> None:
        super().__init__(logging.getLogger(__name__), is_async=True)
        self._base = base_url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_IN_FLIGHT), cookie_jar=aiohttp.DummyCookieJar()
        )
        self._authorization: dict[Any, str] = {}

    async def request(
        self,
        method: str,
        url: str,
        params: Any = None,  # noqa: ARG002 - the SDK's signature
        data: Any = None,
        headers: Any = None,
        auth: Any = None,
        timeout: Any = None,  # noqa: ARG002
        allow_redirects: bool = False,  # noqa: ARG002
    ) -> Response:
        """One request."""
        if auth not in self._authorization:
            self._authorization[auth] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
        address = URL(self._base + urlsplit(url).path, encoded=True)
        sent = {**headers, "Authorization": self._authorization[auth]}
        async with self._session.request(method, address, data=urlencode(data).encode(), headers=sent) as response:
            return Response(response.status, await response.text(), response.headers)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


async def provision(js: JetStreamContext) -> None:
    """The two streams and the durable consumer."""
    await js.add_stream(name=STREAM, subjects=["floor.>"])
    await js.add_stream(name=EVENTS, subjects=[OUTCOMES])


class Floor:
    """Everything that it does with a message."""

    def __init__(self, js: JetStreamContext, client: Client) -> None:
        self._js = js
        self._client = client
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch, and begin each message as soon as a slot is free."""
        subscription = await self._js.pull_subscribe(SUBJECT, durable="floor", stream=STREAM)
        while not stop.is_set():
            try:
                batch = await subscription.fetch(_BATCH, timeout=1)
            except TimeoutError:
                continue
            for msg in batch:
                await self._slots.acquire()
                task = asyncio.create_task(self._send(msg))
                self._tasks.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        task.result()

    async def _send(self, msg: Msg) -> None:
        wanted = json.loads(msg.data)
        created = await self._client.messages.create_async(
            to=wanted["to"], from_=SENDER, body=wanted["content"]["text"]
        )
        event = {
            "notification_id": wanted["id"],
            "status": "accepted",
            "provider_message_id": created.sid,
            "recipient": wanted["to"],
            "metadata": wanted["metadata"],
            "occurred_at": time.time(),
        }
        await self._js.publish(f"floorevents.shop.accepted.{wanted['id']}", json.dumps(event).encode())
        await msg.ack()


async def serve(nats_url: str, base_url: str) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    connection = await nats.connect(nats_url)
    js = connection.jetstream()
    http = LeanHttpClient(base_url)
    client = Client(ACCOUNT, TOKEN, http_client=http)
    await Floor(js, client).run(stop)
    await http.close()
    await connection.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2]))

"""What guides to sending with Celery recommend: a task that calls the SDK, acknowledged late, over Redis.

Written from the public documentation of Celery and of Twilio's SDK, and tuned as both advise for many short tasks:

- late acknowledgement, so that a worker's death loses nothing
  (https://docs.celeryq.dev/en/stable/userguide/optimizing.html#reserve-one-task-at-a-time);
- a prefetch multiplier of 64 instead of 4, as that page advises for short tasks ("50 or 150");
- no gossip, no mingle, no heartbeat, no events, no result backend: the outcome is stored nowhere, which spares this
  peer what the others pay for;
- one `Client` for each process of the pool, with the SDK's own session, so that connections are used again.

Workers are started by `command`, tasks published by `publish`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from celery import Celery
from celery.signals import worker_process_init
from twilio.rest import Client

ACCOUNT, TOKEN, SENDER = "AC" + "0" * 32, "0" * 32, "+15017122661"
_BROKER, _PROVIDER = "BENCH_CELERY_BROKER", "BENCH_PROVIDER"
_PREFETCH = 64

app = Celery("recipe", broker=os.environ.get(_BROKER))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=_PREFETCH,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)

_clients: dict[str, Client] = {}


@worker_process_init.connect
def open_client(**_: Any) -> None:
    """Once in each process of the pool, never across a fork: the session and its connections belong to it."""
    client = Client(ACCOUNT, TOKEN)
    client.api.base_url = os.environ[_PROVIDER]
    _clients["own"] = client


@app.task(name="send")
def send(body: str) -> None:
    """One notification."""
    wanted = json.loads(body)
    _clients["own"].messages.create(to=wanted["to"], from_=SENDER, body=wanted["content"]["text"])


def environ(broker: str, provider: str) -> dict[str, str]:
    """Of workers."""
    return {**os.environ, _BROKER: broker, _PROVIDER: provider}


def command(processes: int) -> list[str]:
    """A worker with a pool of so many processes."""
    options = ["--pool", "prefork", "--concurrency", str(processes), "--loglevel", "WARNING"]
    lean = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [sys.executable, "-m", "celery", "-A", "bench.peers.celery_recipe", "worker", *options, *lean]


def publish(broker: str, bodies: Iterable[bytes]) -> None:
    """A task for each."""
    with app.connection_for_write(broker) as connection, app.amqp.Producer(connection) as producer:
        for body in bodies:
            send.apply_async((body.decode(),), producer=producer)

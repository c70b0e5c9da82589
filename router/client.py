"""The client for services in Python: publish notifications, read what became of them, ask.

    async with Pointsman.connect("nats://127.0.0.1:4222", source="shop") as pointsman:
        await pointsman.publish({"id": "order-17", "to": "+12025550123", "content": {"text": "On its way."}})
        async for event in pointsman.deliveries("shop_events"):
            print(event.notification_id, event.status, event.final)

Nothing here is more than the contract says: whoever has a NATS client can do the same without it. What it adds are
types, a check before anything is published, and the loop around a durable consumer that everybody has to get right.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError
from pydantic import BaseModel, Field

from channels.model import Lane
from router import subjects
from router.wire import (
    ContentModel,
    DecisionModel,
    DeliveryEvent,
    InboundEvent,
    InvalidNotificationError,
    Notification,
    TemplateContent,
    parse_notification,
)

__all__ = [
    "AnswerError",
    "Canceled",
    "ContentModel",
    "DecisionModel",
    "DeliveryEvent",
    "Explanation",
    "InboundEvent",
    "InvalidNotificationError",
    "Lane",
    "NotPublishedError",
    "Notification",
    "Pointsman",
    "PointsmanError",
    "Published",
    "TemplateContent",
]

E = TypeVar("E", bound=BaseModel)

_TRIES = 5  #: a publish without an answer is repeated: the same id with the same content is one notification
_PAUSE = 0.5  #: seconds between tries, and before a consumer that could not be read is asked again
_BATCH = 64  #: events held at a time by one loop
_WAIT = 5.0  #: seconds that one request for events waits


class PointsmanError(Exception):
    """Something did not happen; the message says what, and what to do."""


class NotPublishedError(PointsmanError):
    """NATS did not acknowledge it: it may or may not be stored, and publishing it again is safe."""


class AnswerError(PointsmanError):
    """A router answered that it cannot, or none answered; `code` is that of the NATS micro convention, 503 for none."""

    def __init__(self, message: str, code: int, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field  #: of the request, where one is at fault


@dataclass(frozen=True, slots=True)
class Published:
    """NATS has the notification."""

    notification_id: str
    sequence: int  #: its place in the stream NOTIFICATIONS
    duplicate: bool  #: the same was published within the last minutes, and was not stored once more


@dataclass(frozen=True, slots=True)
class Canceled:
    """What became of a wish to take a notification back."""

    in_time: bool
    because: str


class Explanation(DecisionModel):
    """A decision as it would be made now, and what the message would wait for at the sender of its first step."""

    message: str | None = Field(None, description="why, in a sentence, where nothing would be sent")
    waits: list[str] = Field(default_factory=list, description="each in a sentence")


class Pointsman:
    """What one service does: everything under its own source."""

    def __init__(self, client: Client, source: str, *, timeout: float = 5.0, api: str = "$JS.API") -> None:
        """Over a connection of your own, which stays yours. Raises `ValueError` for a source that is none.

        `timeout` is in seconds, for each acknowledgement and each answer. `api` is where JetStream is asked: a service
        in an account of its own imports it as `pointsman.js` (docs/deployment.md).
        """
        if not subjects.SOURCE.fullmatch(source):
            raise ValueError("source must match [a-z0-9-]{1,32}")
        self._client = client
        self._js: JetStreamContext = client.jetstream(prefix=api, timeout=timeout)
        self._timeout = timeout
        self.source = source

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        servers: str | list[str],
        *,
        source: str,
        timeout: float = 5.0,  # noqa: ASYNC109 - of each answer, for as long as the connection lasts
        api: str = "$JS.API",
        **options: Any,
    ) -> AsyncIterator[Self]:
        """Connect for as long as the block lasts, and come back after every break.

        `api`: as above. `options` are those of `nats.connect`: `user_credentials`, `nkeys_seed`, `tls`... Replies come
        to an inbox under `_INBOX_<source>`, so that permissions can keep services apart (docs/deployment.md).
        """
        settings = {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.2, "inbox_prefix": f"_INBOX_{source}"}
        client = await nats.connect(servers, name=f"{source}-pointsman", **{**settings, **options})
        try:
            yield cls(client, source, timeout=timeout, api=api)
        finally:
            await client.close()

    async def publish(
        self,
        notification: Notification | Mapping[str, Any],
        *,
        lane: Lane | str = Lane.NORMAL,
        traceparent: str | None = None,
    ) -> Published:
        """Publish one notification and wait until NATS has it. Doing it again with the same content is harmless.

        Raises `InvalidNotificationError`, which names the field, before anything is published, and `NotPublishedError`
        when NATS did not acknowledge it.
        """
        checked = _checked(notification)
        body = checked.model_dump_json(exclude_defaults=True).encode()
        headers = {
            "content-type": "application/json",
            # The fingerprint belongs to it: an id that is used for other content has to reach the router.
            "Nats-Msg-Id": f"{self.source}.{checked.id}.{checked.fingerprint()}",
        }
        if traceparent:
            headers["traceparent"] = traceparent
        ack = await self._stored(subjects.notification(Lane(lane), self.source), body, headers)
        return Published(checked.id, ack.seq, bool(ack.duplicate))

    async def _stored(self, subject: str, body: bytes, headers: dict[str, str]) -> Any:
        problem: Exception | None = None
        for _ in range(_TRIES):
            try:
                return await self._js.publish(subject, body, headers=headers, timeout=self._timeout)
            except NoStreamResponseError:
                why = "NATS has no stream NOTIFICATIONS: a router makes it when it starts (pointsman run)"
                raise NotPublishedError(why) from None
            except APIError as exc:
                raise NotPublishedError(f"NATS refused it: {exc.description}") from exc
            except (NatsError, OSError, TimeoutError) as exc:
                problem = exc
                await asyncio.sleep(_PAUSE)
        # A subject that the user may not publish to is not answered either.
        why = "NATS did not acknowledge it: is it reachable, and may this user publish here?"
        raise NotPublishedError(why) from problem

    def deliveries(
        self,
        durable: str,
        *,
        status: str = "*",
        channel: str = "*",
        notification_id: str = "*",
        only_new: bool = False,
        ack_wait: float = 30.0,
    ) -> AsyncGenerator[DeliveryEvent, None]:
        """Delivery events of this source, from a durable consumer, in the order of the log.

        An event is acknowledged when the loop comes back for the next one: a body that raises, or a process that dies,
        gets it again, so `event_id` tells what has been handled. Several loops with one `durable` share the events;
        while a body is at work the event stays its own. `only_new` begins, at the first use of the name, with what
        happens from then on; else with everything that the log still holds. Permissions may want the name to begin
        with the source: `<source>_events` is what those let through that are shipped. Raises `PointsmanError` where the
        consumer cannot be had.
        """
        subject = f"deliveries.{self.source}.{status}.{channel}.{notification_id}"
        return self._read(subjects.DELIVERIES, durable, subject, DeliveryEvent, only_new=only_new, ack_wait=ack_wait)

    def inbound(
        self, durable: str, *, channel: str = "*", sender: str = "*", only_new: bool = False, ack_wait: float = 30.0
    ) -> AsyncGenerator[InboundEvent, None]:
        """What recipients wrote, as `deliveries` reads: `message_id` tells what has been handled."""
        subject = f"inbound.{channel}.{sender}"
        return self._read(subjects.INBOUND, durable, subject, InboundEvent, only_new=only_new, ack_wait=ack_wait)

    async def explain(
        self, notification: Notification | Mapping[str, Any], *, lane: Lane | str = Lane.NORMAL
    ) -> Explanation:
        """What would happen to this notification now, and why; nothing is sent or stored."""
        row = json.loads(_checked(notification).model_dump_json(exclude_defaults=True))
        answer = await self._ask("explain", {"notification": row, "lane": Lane(lane)})
        return Explanation.model_validate(answer)

    async def trace(self, notification_id: str) -> list[DeliveryEvent]:
        """One notification's story, in order. Raises `AnswerError` with code 404 where the log has none."""
        answer = await self._ask("trace", {"id": notification_id})
        return [DeliveryEvent.model_validate(event) for event in answer["events"]]

    async def cancel(self, notification_id: str) -> Canceled:
        """Take back what has not been sent, and say whether that came in time."""
        answer = await self._ask("cancel", {"id": notification_id})
        return Canceled(bool(answer["canceled"]), str(answer["because"]))

    async def _ask(self, service: str, request: Mapping[str, Any]) -> Any:
        """The source stands in the subject, so that permissions can keep a service to its own."""
        subject = f"pointsman.{service}.{self.source}"
        try:
            reply = await self._client.request(subject, json.dumps(request).encode(), timeout=self._timeout)
        except NoRespondersError:
            raise AnswerError("no router answers: is one running?", 503) from None
        except (NatsTimeoutError, TimeoutError):
            raise AnswerError(f"no answer within {self._timeout:g} s", 503) from None
        answer = json.loads(reply.data)
        if (reply.headers or {}).get("Nats-Service-Error-Code"):
            error = answer["error"]
            raise AnswerError(error["message"], int(error["code"]), error["field"])
        return answer

    async def _read(
        self, stream: str, durable: str, subject: str, model: type[E], *, only_new: bool, ack_wait: float
    ) -> AsyncGenerator[E, None]:
        deliver = DeliverPolicy.NEW if only_new else DeliverPolicy.ALL
        config = ConsumerConfig(
            name=durable,
            durable_name=durable,
            filter_subject=subject,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait,
            deliver_policy=deliver,
        )
        await self._made(stream, config)
        subscription = await self._js.pull_subscribe_bind(stream=stream, consumer=durable)
        held = _Held(ack_wait / 3)
        try:
            while True:
                async for msg in held.each(await self._fetched(subscription)):
                    yield model.model_validate_json(msg.data)
        finally:
            await held.give_back()
            await subscription.unsubscribe()

    async def _made(self, stream: str, config: ConsumerConfig) -> None:
        """The consumer, once: one that exists is used as it is, if it reads the same subjects."""
        name = str(config.durable_name)
        try:
            try:
                info = await self._js.consumer_info(stream, name)
            except NotFoundError:
                info = await self._js.add_consumer(stream, config)
        except NotFoundError:
            raise PointsmanError(
                f"NATS has no stream {stream}: a router makes it when it starts (pointsman run)"
            ) from None
        except APIError as exc:
            raise PointsmanError(f"NATS refused consumer {name} of {stream}: {exc.description or exc}") from exc
        except (NatsTimeoutError, TimeoutError) as exc:
            # A subject that the user may not publish to is not answered either.
            raise PointsmanError(
                f"NATS did not answer about consumer {name} of {stream}: is it reachable, and may this user read "
                f"{stream} by this name? The permissions that are shipped let it use {self.source}_events, "
                "with the option api (docs/deployment.md)"
            ) from exc
        if info.config.filter_subject != config.filter_subject:
            raise PointsmanError(
                f"consumer {config.durable_name} of {stream} reads {info.config.filter_subject}, and this loop wants "
                f"{config.filter_subject}: choose another durable name, or delete the consumer"
            )

    async def _fetched(self, subscription: JetStreamContext.PullSubscription) -> list[Msg]:
        try:
            return await subscription.fetch(_BATCH, timeout=_WAIT)
        except (NatsTimeoutError, TimeoutError):
            return []
        except (NatsError, OSError):  # a server that restarts, a leader that moves: what waits comes again
            await asyncio.sleep(_PAUSE)
            return []


class _Held:
    """Events that were fetched and not yet handled: kept from being given to somebody else."""

    def __init__(self, every: float) -> None:
        self._every = every  #: seconds between signs of life
        self._waiting: list[Msg] = []

    async def each(self, messages: Iterable[Msg]) -> AsyncGenerator[Msg, None]:
        """One after the other; each is acknowledged when the next one is asked for."""
        self._waiting = list(messages)
        alive = asyncio.create_task(self._stay_alive())
        try:
            while self._waiting:
                yield self._waiting[0]
                await _quietly(self._waiting.pop(0).ack)
        finally:
            alive.cancel()

    async def give_back(self) -> None:
        """What was not handled goes to whoever asks next, at once."""
        while self._waiting:
            await _quietly(self._waiting.pop(0).nak)

    async def _stay_alive(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            for msg in list(self._waiting):
                await _quietly(msg.in_progress)


async def _quietly(tell: Callable[[], Any]) -> None:
    """What JetStream is not told, it delivers again."""
    try:
        await tell()
    except (NatsError, OSError):
        return


def _checked(notification: Notification | Mapping[str, Any]) -> Notification:
    """As the router will read it. Raises `InvalidNotificationError`."""
    if not isinstance(notification, Notification):
        notification = parse_notification(json.dumps(dict(notification), default=str).encode())
    notification.recipient()
    return notification

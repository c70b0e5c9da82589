"""The contract for machines: JSON Schemas of everything on the wire, and the AsyncAPI document of who sends what where.

Both are made from the models of `router.wire`, so that they cannot say anything else than the router does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from channels.model import Lane
from policies.document import json_schema as policy_schema
from router.openapi import openapi
from router.subjects import NAME, NOTIFICATION_ID, SOURCE
from router.wire import DeadLetterEvent, DeliveryEvent, InboundEvent, Notification

if TYPE_CHECKING:
    from faststream.specification.base.specification import Specification

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI, OPENAPI = "asyncapi", "openapi"
POLICY = "policy"

#: A publisher may leave out what has a default; a subscriber finds every field.
Mode = Literal["validation", "serialization"]


@dataclass(frozen=True, slots=True)
class WireChannel:
    """One kind of message, and where it travels."""

    name: str  #: of the schema
    title: str
    address: str  #: the subject, with its parameters
    model: type[BaseModel]
    mode: Mode
    received: bool  #: by the router; else the router sends it

    @property
    def stream(self) -> str:
        """The first token of its subjects."""
        return self.address.partition(".")[0]

    @property
    def description(self) -> str:
        """The model's own."""
        return self.model.__doc__ or ""


CHANNELS = (
    WireChannel("notification", "Notification", "notifications.{lane}.{source}", Notification, "validation", True),
    WireChannel(
        "delivery",
        "Delivery event",
        "deliveries.{source}.{status}.{channel}.{id}",
        DeliveryEvent,
        "serialization",
        False,
    ),
    WireChannel("inbound", "Inbound message", "inbound.{channel}.{sender}", InboundEvent, "serialization", False),
    WireChannel("deadletter", "Dead letter", "deadletters.{stage}.{source}", DeadLetterEvent, "serialization", False),
)
_BY_NAME = MappingProxyType({channel.name: channel for channel in CHANNELS})

#: What may be asked for by name.
NAMES = (*_BY_NAME, POLICY, ASYNCAPI, OPENAPI)

_PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "lane": {"description": "how urgent it is", "enum": [lane.value for lane in Lane]},
    "source": {"description": f"the publishing service, {SOURCE.pattern}"},
    "status": {"description": "the event's status"},
    "channel": {"description": "sms, mms, whatsapp, a plugin's name, or none where no channel was chosen"},
    "id": {"description": f"the notification's id, {NOTIFICATION_ID.pattern}"},
    "sender": {"description": f"the configured name of the sender, {NAME.pattern}"},
    "stage": {"description": "where it was given up"},
}


def document(name: str) -> dict[str, Any]:
    """A schema by name, the AsyncAPI or the OpenAPI document. KeyError for a name that is not in `NAMES`."""
    match name:
        case "asyncapi":
            return asyncapi()
        case "openapi":
            return openapi()
    return json_schema(name)


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one kind of message, or of policies. KeyError for an unknown name."""
    if name == POLICY:
        return policy_schema()
    channel = _BY_NAME[name]
    schema = channel.model.model_json_schema(by_alias=True, mode=channel.mode)
    return {"$schema": DIALECT, "$id": f"urn:pointsman:schema:{name}", **schema, "title": channel.title}


def asyncapi(server: str = "nats://127.0.0.1:4222") -> dict[str, Any]:
    """The AsyncAPI 3.0 document of a router on this NATS server."""
    return _finished(json.loads(_with_plain_names(_specification(server).to_json())))


def asyncapi_page(server: str = "nats://127.0.0.1:4222") -> str:
    """The same as a page for people; the browser loads AsyncAPI's own viewer from its package's address."""
    from faststream.specification.asyncapi import get_asyncapi_html  # noqa: PLC0415

    return get_asyncapi_html(_specification(server), try_it_out_path=None)


def _specification(server: str) -> Specification:
    # Here, because FastStream takes a second to import and the schemas do not need it.
    from faststream.nats import NatsBroker  # noqa: PLC0415
    from faststream.specification import AsyncAPI  # noqa: PLC0415

    broker = NatsBroker(server, logger=None)
    for channel in CHANNELS:
        _declare(broker, channel)
    return AsyncAPI(
        broker,
        title="Pointsman",
        version=version("pointsman"),
        description="A notification in, the right message out, delivery events back.",
        license={"name": "Apache-2.0"},
    ).to_specification()


def _declare(broker: Any, channel: WireChannel) -> None:
    """On a broker that never connects: only its description is wanted."""
    said = {"title": channel.stream, "description": channel.description}
    if not channel.received:
        broker.publisher(channel.address, schema=channel.model, **said)
        return

    async def take(event: BaseModel) -> None:
        """Never called."""

    take.__annotations__["event"] = channel.model
    broker.subscriber(channel.address, **said)(take)


def _with_plain_names(text: str) -> str:
    """FastStream names messages "<title>:Message"; AsyncAPI 3.0 allows no colon in the name of a component."""
    return text.replace(":SubscribeMessage", ".Message").replace(":Message", ".Message")


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    """With the parameters of each address, and without what FastStream adds of its own habits."""
    for channel in document["channels"].values():
        # The NATS binding of a channel has no properties; the subject is the address.
        channel.pop("bindings", None)
        named = [token[1:-1] for token in channel["address"].split(".") if token.startswith("{")]
        channel["parameters"] = {name: dict(_PARAMETERS[name]) for name in named}
    for message in document["components"]["messages"].values():
        # Events are correlated by fields of the contract, not by a header of FastStream's.
        message.pop("correlationId", None)
        message["contentType"] = "application/json"
    for server in document["servers"].values():
        server.pop("protocolVersion", None)
    # In one order: FastStream keeps publishers in a set.
    components = document["components"]
    for table, name in (
        (document, "channels"),
        (document, "operations"),
        (components, "messages"),
        (components, "schemas"),
    ):
        table[name] = dict(sorted(table[name].items()))
    return document

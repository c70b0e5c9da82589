"""What operators and services ask: NATS micro services under `pointsman.*`, request and reply in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import nats.micro
from nats.aio.client import Client
from nats.micro.service import Service

from router.services.asking import Endpoints, answering, of_its_source

VERSION = "1.0.0"
#: What a service may ask about its own notifications: on a subject that ends with its source too, so that permissions
#: can keep it to them.
OF_A_SOURCE = frozenset({"explain", "trace", "cancel"})


class Desk(Protocol):
    """Answers some of the questions."""

    def endpoints(self) -> Endpoints:
        """Subjects below `pointsman.`, and what answers there."""


async def announce(client: Client, desks: Sequence[Desk]) -> Service:
    """Start one service with the endpoints of every desk."""
    service = await nats.micro.add_service(client, name="pointsman", version=VERSION)
    for desk in desks:
        for name, answer in desk.endpoints().items():
            endpoint = name.replace(".", "-")  # an endpoint's name is one token
            await service.add_endpoint(name=endpoint, subject=f"pointsman.{name}", handler=answering(answer))
            if name in OF_A_SOURCE:
                own = of_its_source(answer)
                await service.add_endpoint(name=f"{endpoint}-own", subject=f"pointsman.{name}.*", handler=own)
    return service

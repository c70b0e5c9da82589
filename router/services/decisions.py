"""Why: what would happen to a notification, and what happened to one."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from channels.model import ChannelName
from policies.engine import Policy, decide
from policies.explain import decision_as_dict
from router import subjects
from router.caps import Caps
from router.clock import Clock
from router.intake import check_wait, request_of
from router.jetstream import JetStream
from router.recipients import Recipients
from router.services.asking import BadRequestError, Endpoints, a_lane, a_source, an_id
from router.waits import Waits
from router.wire import InvalidNotificationError, parse_notification


@dataclass(frozen=True, slots=True)
class DecisionDesk:
    """`pointsman.explain` and `pointsman.trace`."""

    js: JetStream
    recipients: Recipients
    caps: Caps
    channels: Collection[ChannelName]  #: those that are installed
    policy: Callable[[], Policy]
    clock: Clock
    waits: Waits
    kept: float = 30 * 86_400.0  #: seconds for which the streams keep a notification and its story

    def endpoints(self) -> Endpoints:
        """What it answers."""
        return {"explain": self.explain, "trace": self.trace}

    async def explain(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What would happen to this notification now, and why; nothing is sent or stored.

        A notification alone, or `{notification, lane?, source?}`.
        """
        envelope = request if "notification" in request else {"notification": request}
        lane, source = a_lane(envelope), a_source({"source": "explain", **envelope})
        try:
            notification = parse_notification(json.dumps(envelope["notification"]).encode())
            check_wait(notification, self.kept, self.clock())
            wanted = request_of(notification, source, lane, self.channels)
        except InvalidNotificationError as exc:
            raise BadRequestError(exc.message, exc.field) from None
        await self.recipients.refresh(wanted.recipient)
        facts, policy = self.recipients.facts(wanted.recipient), self.policy()
        if wanted.category in policy.capped:
            facts = replace(facts, recent=await self.caps.recent(wanted.recipient, policy))
        decision = decision_as_dict(decide(wanted, facts, policy, self.clock()))
        if decision["plan"]:
            decision["waits"] = await self.waits.of(decision["plan"][0]["sender"])
        return decision

    async def trace(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """`{source, id}`: every event of one notification, in order."""
        source, identity = a_source(request), an_id(request)
        stored = await self.js.history(subjects.DELIVERIES, subjects.story(source, identity))
        if not stored:
            raise BadRequestError(f"no notification {identity!r} of {source!r} is in the log", "id", 404)
        return {"events": [json.loads(each.body) for each in stored]}

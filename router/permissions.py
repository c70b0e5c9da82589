"""What NATS must let its users do: the router's own needs, and no more; made from what it uses, so that it stays true.

`python -m router.permissions` prints the blocks that deploy/nats/ ships.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from router import advisories, subjects, topology
from router.services import OF_A_SOURCE
from router.settings import Settings
from router.switches import PREFIX

#: Events, schedules and buckets that the router writes. It publishes no notification.
_WRITTEN = ("deliveries.>", "outbox.>", "timers.>", "wake.>", "inbound.>", "deadletters.>")
_ACCOUNT = ("$JS.API.STREAM.NAMES", "$JS.API.INFO")
_OF_A_STREAM = (
    "$JS.API.STREAM.INFO.{}",
    "$JS.API.STREAM.CREATE.{}",
    "$JS.API.STREAM.UPDATE.{}",
    "$JS.API.STREAM.MSG.GET.{}",
    "$JS.API.DIRECT.GET.{}",
    "$JS.API.CONSUMER.CREATE.{}",
    "$JS.API.CONSUMER.CREATE.{}.>",
    "$JS.API.CONSUMER.INFO.{}.*",
    "$JS.API.CONSUMER.LIST.{}",
    "$JS.API.CONSUMER.MSG.NEXT.{}.>",
    "$JS.ACK.{}.>",
)
#: What a command of an operator reads streams by. It changes none.
_READ_A_STREAM = (
    "$JS.API.STREAM.INFO.{}",
    "$JS.API.STREAM.MSG.GET.{}",
    "$JS.API.DIRECT.GET.{}",
    "$JS.API.CONSUMER.CREATE.{}",
    "$JS.API.CONSUMER.INFO.{}.*",
    "$JS.API.CONSUMER.MSG.NEXT.{}.>",
)
#: What it writes itself: policies and pauses (docs/policy.md, "Changing it").
_STEERING = (
    f"$JS.API.STREAM.INFO.KV_{topology.POLICY}",
    f"$JS.API.STREAM.MSG.GET.KV_{topology.POLICY}",
    f"$JS.API.DIRECT.GET.KV_{topology.POLICY}",
    f"$KV.{topology.POLICY}.policy.>",
    f"$KV.{topology.POLICY}.{PREFIX}>",
)
_OF_A_CONSUMER = (
    f"$JS.API.CONSUMER.INFO.{subjects.DELIVERIES}.{{}}",
    f"$JS.API.CONSUMER.MSG.NEXT.{subjects.DELIVERIES}.{{}}",
    f"$JS.ACK.{subjects.DELIVERIES}.{{}}.>",
)
_READABLE = (subjects.DELIVERIES, subjects.INBOUND, subjects.DEADLETTERS)


@dataclass(frozen=True, slots=True)
class Permissions:
    """Of one user."""

    publish: Sequence[str]
    subscribe: Sequence[str]
    responses: bool = False  #: may answer whoever asked it

    def block(self) -> str:
        """As the server's configuration takes it."""
        rows = [f"publish: {_listed(self.publish)}", f"subscribe: {_listed(self.subscribe)}"]
        rows += ["allow_responses: true"] if self.responses else []
        return "permissions: {\n" + "\n".join("  " + row.replace("\n", "\n  ") for row in rows) + "\n}\n"


def router(settings: Settings) -> Permissions:
    """A router of this configuration."""
    plans = topology.streams(settings)
    buckets = [subject for plan in plans if plan.name.startswith("KV_") for subject in plan.subjects]
    api = [each.format(plan.name) for plan in plans for each in _OF_A_STREAM]
    purge = f"$JS.API.STREAM.PURGE.{subjects.TIMERS}"  # a schedule is taken back by purging its subject
    return Permissions(
        publish=(*_WRITTEN, *buckets, *_ACCOUNT, *api, purge),
        subscribe=(f"{settings.nats.inbox}.>", "pointsman.>", "$SRV.>", *advisories.SUBJECTS),
        responses=True,
    )


def operator(inbox: str) -> Permissions:
    """A person at a terminal, or the console: asks everything, reads every event, publishes as any service, steers."""
    api = [each.format(name) for name in _READABLE for each in _READ_A_STREAM]
    return Permissions(
        publish=("notifications.*.*", "pointsman.>", "$SRV.>", *api, *_STEERING), subscribe=(f"{inbox}.>",)
    )


def service(source: str, consumers: Sequence[str] = ("events",)) -> Permissions:
    """A service: publishes its own notifications, reads its own delivery events, asks about its own.

    Its consumers are called `<source>_<name>`. No source holds an underscore, so the name is nobody else's; and the
    filter stands in the subject by which a consumer is made, to which the server holds the request.
    """
    names = [f"{source}_{consumer}" for consumer in consumers]
    api = [each.format(name) for name in names for each in _OF_A_CONSUMER]
    made = [f"$JS.API.CONSUMER.CREATE.{subjects.DELIVERIES}.{name}.deliveries.{source}.>" for name in names]
    asks = [f"pointsman.{question}.{source}" for question in sorted(OF_A_SOURCE)]
    return Permissions(publish=(f"notifications.*.{source}", *made, *api, *asks), subscribe=(f"_INBOX_{source}.>",))


def _listed(names: Sequence[str]) -> str:
    return "[\n" + "".join(f'  "{name}"\n' for name in names) + "]"


def main() -> int:
    """Print the block of `router`, `operator` or `service <source> [<consumer> ...]`."""
    match sys.argv[1:]:
        case ["router"]:
            sys.stdout.write(router(Settings(nats={"inbox": "_INBOX_pointsman"})).block())
        case ["operator"]:
            sys.stdout.write(operator("_INBOX_operator").block())
        case ["service", source, *consumers] if subjects.SOURCE.fullmatch(source):
            sys.stdout.write(service(source, consumers or ("events",)).block())
        case _:
            sys.stderr.write(
                "usage: python -m router.permissions router | operator | service SOURCE [CONSUMER ...]" + "\n"
            )
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

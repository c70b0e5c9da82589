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
#: The last one tells the doctor what this user may do.
_ACCOUNT = ("$JS.API.STREAM.NAMES", "$JS.API.INFO", "$SYS.REQ.USER.INFO")
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
#: Where a service asks JetStream: its account has none of its own, so what it imports lies under another name.
API = "pointsman.js"
_JETSTREAM = "$JS.API"
ACCOUNT = "POINTSMAN"  #: of the router
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


@dataclass(frozen=True, slots=True)
class Lent:
    """A subject of the router's account that a service's own account may send requests to.

    Accounts are what keeps services from writing elsewhere. Within one the server checks what is published, and never
    where the answer goes: an acknowledgement of JetStream, or a message that a consumer hands out, would be stored by
    whatever stream its reply subject belongs to. Between accounts every reply subject is the server's own.
    """

    subject: str  #: in the router's account
    many: bool = False  #: a request has more than one answer

    @property
    def here(self) -> str:
        """In the service's account."""
        return self.subject.replace(_JETSTREAM, API, 1)

    def exported(self, account: str) -> str:
        """A line of the router's account."""
        answers = ", response_type: stream" if self.many else ""
        return f'{{ service: "{self.subject}", accounts: [{account}]{answers} }}'

    def imported(self, account: str) -> str:
        """A line of the service's account."""
        to = f', to: "{self.here}"' if self.here != self.subject else ""
        return f'{{ service: {{ account: {account}, subject: "{self.subject}" }}{to} }}'


def lent(source: str, consumers: Sequence[str] = ("events",)) -> list[Lent]:
    """What a service needs: its own notifications, its own delivery events, questions about its own.

    Its consumers are called `<source>_<name>`. No source holds an underscore, so the name is nobody else's; and the
    filter stands in the subject by which a consumer is made, to which the server holds the request.
    """
    needs = [Lent(f"notifications.*.{source}")]
    for name in (f"{source}_{consumer}" for consumer in consumers):
        of = f"{subjects.DELIVERIES}.{name}"
        needs += [
            Lent(f"{_JETSTREAM}.CONSUMER.CREATE.{of}.deliveries.{source}.>"),
            Lent(f"{_JETSTREAM}.CONSUMER.INFO.{of}"),
            Lent(f"{_JETSTREAM}.CONSUMER.MSG.NEXT.{of}", many=True),
            Lent(f"$JS.ACK.{of}.>"),
        ]
    return needs + [Lent(f"pointsman.{question}.{source}") for question in sorted(OF_A_SOURCE)]


def service(source: str, consumers: Sequence[str] = ("events",)) -> Permissions:
    """The user of a service, in an account of its own that imports what it is lent."""
    return Permissions(publish=[each.here for each in lent(source, consumers)], subscribe=(f"_INBOX_{source}.>",))


def account_of(source: str) -> str:
    """The name of a service's account."""
    return source.upper()


def imports(source: str, consumers: Sequence[str] = ("events",)) -> str:
    """What stands in the account of a service."""
    return _block("imports", [each.imported(ACCOUNT) for each in lent(source, consumers)])


def exports(sources: Sequence[str]) -> str:
    """What stands in the router's account, for all services."""
    return _block("exports", [each.exported(account_of(source)) for source in sources for each in lent(source)])


def _block(name: str, rows: Sequence[str]) -> str:
    return f"{name}: [\n" + "".join(f"  {row}\n" for row in rows) + "]\n"


def _listed(names: Sequence[str]) -> str:
    return "[\n" + "".join(f'  "{name}"\n' for name in names) + "]"


_USAGE = "router | operator | service SOURCE [CONSUMER ...] | imports SOURCE [CONSUMER ...] | exports SOURCE ..."


def main() -> int:
    """Print a block: of a user, of what a service's account imports, or of what the router's account exports."""
    match sys.argv[1:]:
        case ["router"]:
            sys.stdout.write(router(Settings(nats={"inbox": "_INBOX_pointsman"})).block())
        case ["operator"]:
            sys.stdout.write(operator("_INBOX_operator").block())
        case ["service", source, *consumers] if subjects.SOURCE.fullmatch(source):
            sys.stdout.write(service(source, consumers or ("events",)).block())
        case ["imports", source, *consumers] if subjects.SOURCE.fullmatch(source):
            sys.stdout.write(imports(source, consumers or ("events",)))
        case ["exports", *sources] if sources and all(subjects.SOURCE.fullmatch(each) for each in sources):
            sys.stdout.write(exports(sources))
        case _:
            sys.stderr.write(f"usage: python -m router.permissions {_USAGE}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

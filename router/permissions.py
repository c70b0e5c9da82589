"""What NATS must let its users do: the router's own needs, and no more; made from what it uses, so that it stays true.

`python -m router.permissions` prints the blocks that deploy/nats/ ships.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
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
#: `<source>:<channel>.<sender>`
_INBOUND = re.compile(r"([a-z0-9-]{1,32}):((?:\*|[A-Za-z0-9_-]+)\.(?:\*|[A-Za-z0-9_-]+))")
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


def lent(source: str, consumers: Sequence[str] = ("events",), inbound: Sequence[str] = ()) -> list[Lent]:
    """What a service needs: its own notifications, its own delivery events, questions about its own.

    Its consumers are called `<source>_<name>`. No source holds an underscore, so the name is nobody else's; and the
    filter stands in the subject by which a consumer is made, to which the server holds the request.

    What recipients write belongs to no source: `inbound` names what of it this service may read, each as
    `<channel>.<sender>`, where `*` is any.
    """
    read = {subjects.DELIVERIES: [f"deliveries.{source}.>"]}
    if inbound:
        read[subjects.INBOUND] = [f"inbound.{each}" for each in inbound]
    needs = [Lent(f"notifications.*.{source}")]
    for stream, filters in read.items():
        for consumer in consumers:
            needs += _reading(f"{stream}.{source}_{consumer}", filters)
    return needs + [Lent(f"pointsman.{question}.{source}") for question in sorted(OF_A_SOURCE)]


def _reading(of: str, filters: Sequence[str]) -> list[Lent]:
    """By one consumer, `<stream>.<name>`."""
    return [
        *(Lent(f"{_JETSTREAM}.CONSUMER.CREATE.{of}.{each}") for each in filters),
        Lent(f"{_JETSTREAM}.CONSUMER.INFO.{of}"),
        Lent(f"{_JETSTREAM}.CONSUMER.MSG.NEXT.{of}", many=True),
        Lent(f"$JS.ACK.{of}.>"),
    ]


def service(source: str, consumers: Sequence[str] = ("events",), inbound: Sequence[str] = ()) -> Permissions:
    """The user of a service, in an account of its own that imports what it is lent."""
    needs = lent(source, consumers, inbound)
    return Permissions(publish=[each.here for each in needs], subscribe=(f"_INBOX_{source}.>",))


def account_of(source: str) -> str:
    """The name of a service's account."""
    return source.upper()


def imports(source: str, consumers: Sequence[str] = ("events",), inbound: Sequence[str] = ()) -> str:
    """What stands in the account of a service."""
    return _block("imports", [each.imported(ACCOUNT) for each in lent(source, consumers, inbound)])


def exports(sources: Sequence[str], inbound: Mapping[str, Sequence[str]]) -> str:
    """What stands in the router's account, for all services; `inbound` by source."""
    rows = [(source, each) for source in sources for each in lent(source, inbound=inbound.get(source, ()))]
    return _block("exports", [each.exported(account_of(source)) for source, each in rows])


def _block(name: str, rows: Sequence[str]) -> str:
    return f"{name}: [\n" + "".join(f"  {row}\n" for row in rows) + "]\n"


def _listed(names: Sequence[str]) -> str:
    return "[\n" + "".join(f'  "{name}"\n' for name in names) + "]"


def main() -> int:
    """Print a block: of a user, of what a service's account imports, or of what the router's account exports."""
    given = _parser().parse_args()
    inbound: dict[str, list[str]] = {}
    for source, subject in getattr(given, "inbound", []):
        inbound.setdefault(source, []).append(subject)
    match given.block:
        case "router":
            made = router(Settings(nats={"inbox": "_INBOX_pointsman"})).block()
        case "operator":
            made = operator("_INBOX_operator").block()
        case "service":
            made = service(given.source, given.consumers, inbound.get(given.source, ())).block()
        case "imports":
            made = imports(given.source, given.consumers, inbound.get(given.source, ()))
        case _:
            made = exports(given.sources, inbound)
    sys.stdout.write(made)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m router.permissions", description=main.__doc__)
    blocks = parser.add_subparsers(dest="block", required=True)
    blocks.add_parser("router")
    blocks.add_parser("operator")
    for name in ("service", "imports"):
        of_one = blocks.add_parser(name)
        of_one.add_argument("source", type=_source)
        of_one.add_argument("consumers", nargs="*", default=["events"], help="each is called <source>_<consumer>")
        _add_inbound(of_one)
    of_all = blocks.add_parser("exports")
    of_all.add_argument("sources", nargs="+", type=_source)
    _add_inbound(of_all)
    return parser


def _add_inbound(parser: argparse.ArgumentParser) -> None:
    says = "inbound messages that a service may read, '*' for any; may be given several times, for others too"
    parser.add_argument(
        "--inbound", action="append", type=_inbound, default=[], metavar="SOURCE:CHANNEL.SENDER", help=says
    )


def _source(text: str) -> str:
    if not subjects.SOURCE.fullmatch(text):
        raise argparse.ArgumentTypeError("a source is [a-z0-9-]{1,32}")
    return text


def _inbound(text: str) -> tuple[str, str]:
    if not (found := _INBOUND.fullmatch(text)):
        raise argparse.ArgumentTypeError("say who may read what, as crm:sms.us, crm:whatsapp.* or crm:*.*")
    return found[1], found[2]


if __name__ == "__main__":
    sys.exit(main())

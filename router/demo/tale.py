"""What became of a sample, told by its delivery events, and whether that is how it had to end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from router.demo.samples import Sample
from router.wire import DecisionModel, DeliveryEvent

_WORDS = {
    "sms/text": "SMS",
    "sms/link": "SMS with a link",
    "mms/media": "MMS",
    "whatsapp/template": "WhatsApp template",
    "whatsapp/text": "WhatsApp message",
}
_ENDS = {"exhausted": "failed, no other way left"}
_ENDED_UNSENT = ("suppressed", "rejected", "expired")


@dataclass(slots=True)
class Tale:
    """The events of one sample so far."""

    sample: Sample
    events: list[DeliveryEvent] = field(default_factory=list)

    @property
    def path(self) -> list[str]:
        """Statuses in the order in which they were recorded."""
        return [event.status for event in self.events]

    @property
    def told(self) -> bool:
        """Whether nothing more is to come: the expected end, or another that is final."""
        if not self.events:
            return False
        last = self.events[-1]
        return last.status == self.sample.expected.path[-1] or (
            last.final and last.status not in self.sample.expected.path
        )

    @property
    def carried(self) -> str:
        """Channel and form of the last event, as "sms/link"; "none" where no channel was chosen."""
        if not self.events or self.events[-1].form is None:
            return "none"
        return f"{self.events[-1].channel}/{self.events[-1].form}"

    def happened(self) -> str:
        """The end in a few words."""
        if not self.events:
            return "nothing"
        last = self.events[-1]
        if last.status in _ENDED_UNSENT:
            return f"not sent: {last.status}, {last.reason}"
        what = _WORDS.get(self.carried, self.carried)
        return f"{what} {_ENDS.get(last.status, last.status)}" + (f": {last.reason}" if last.reason else "")

    def why(self) -> str:
        """What the events say of their reasons, and the sample's own note."""
        sentences = [because(event) for event in self.events]
        return "; ".join(sentence for sentence in (*sentences, self.sample.note) if sentence)

    def problems(self, sent: int) -> list[str]:
        """What is not as it had to be; `sent` messages were accepted by the provider for this recipient."""
        expected = self.sample.expected
        found = []
        if not self.path or self.path[-1] != expected.path[-1] or not _in_order(expected.path, self.path):
            found.append(f"expected {', '.join(expected.path)}; came {', '.join(self.path) or 'nothing'}")
        if self.carried != expected.carried:
            found.append(f"expected {expected.carried}, was {self.carried}")
        if sent != expected.sent:
            found.append(f"the provider accepted {sent} messages, expected {expected.sent}")
        return found


def because(event: DeliveryEvent) -> str:
    """The decision's own sentence, or the provider's where it refused; empty for every other event."""
    if event.decision is not None:
        return _sentence(event.decision)
    if event.status == "failed" and event.error is not None:
        return f"{event.provider} refused it: {event.error.message} ({event.error.code})"
    return ""


def _sentence(decision: DecisionModel) -> str:
    """Why this route and this step; where there is no plan, what stopped it."""
    matched = [entry for entry in decision.trace if entry.matched]
    if not decision.plan:
        return matched[-1].because if matched else decision.reason
    routes = [entry.because for entry in matched if entry.rule.startswith("route.") and entry.rule.count(".") == 1]
    step = str((decision.plan[0].model_extra or {}).get("because", ""))
    return "; ".join(part.removeprefix("it applies: ") for part in (*routes[:1], step) if part)


def _in_order(milestones: Iterable[str], path: Iterable[str]) -> bool:
    """Whether the milestones stand in the path in this order."""
    rest = iter(path)
    return all(milestone in rest for milestone in milestones)

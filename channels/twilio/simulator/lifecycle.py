"""What becomes of an accepted message, step by step.

    From:               queued -> (its turn in the sender's queue) -> sent -> delivered -> read (WhatsApp)
    MessagingService:   accepted -> queued on a sender of the pool -> the same
    with SendAt:        scheduled -> queued on a sender of the pool -> the same

Every status but the first is called back. A message fails where Twilio would find out: a closed window or a rejected
template when the message leaves the queue, a missing sender or a full queue when the service picks one.
https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from channels.address import country_of_e164
from channels.twilio.simulator.codes import Refusal
from channels.twilio.simulator.content import is_complete
from channels.twilio.simulator.core import Core
from channels.twilio.simulator.drafts import Draft
from channels.twilio.simulator.faults import Ending
from channels.twilio.simulator.messages import (
    CANCELABLE,
    WHATSAPP_PREFIX,
    MessageStore,
    TwilioMessage,
    segments_of,
)
from channels.twilio.simulator.validation import MAX_VALIDITY, moment_of, variables_of
from channels.twilio.simulator.world import World

#: Elsewhere the converter makes a text with a link of it: https://www.twilio.com/docs/messaging/services#mms-converter
MMS_COUNTRIES = ("US", "CA")
MAX_TEMPLATE_TEXT = 1024  # characters, after substitution: https://www.twilio.com/docs/api/errors/63021
#: What a template that is not approved gets while the window is closed.
TEMPLATE_CODES = {"approved": None, "rejected": 63040, "paused": 63041, "disabled": 63042}


@dataclass(frozen=True, slots=True)
class Step:
    """The next status: so many seconds after the one before."""

    status: str
    after: float
    code: int | None = None


class Lifecycle:
    """Moves messages from status to status; `notify` is told of each change that Twilio calls back."""

    def __init__(
        self, core: Core, world: World, store: MessageStore, notify: Callable[[TwilioMessage, float], None]
    ) -> None:
        self._world = world
        self._store = store
        self._agenda = core.agenda
        self._new_sid = core.new_sid
        self._random = core.delay_random
        self._notify = notify
        self._delays = core.settings.delays
        self.accepted = 0  #: messages accepted so far, forgotten ones included

    def accept(self, draft: Draft, ending: Ending | None, now: float) -> TwilioMessage:
        """Take a validated request. Raises `Refusal` when the sender's queue is full."""
        message = self._make(draft, ending, now)
        sender = message.from_
        if sender is not None and self._world.queues.is_full(sender, message.segments, now):
            raise Refusal(21611)
        self.accepted += 1
        self._store.add(message)
        if sender is None:
            due = moment_of(draft.send_at) if draft.send_at else None
            message.enter("accepted" if due is None else "scheduled", now)
            self._agenda.at(due or now + self._stretched(self._delays.queued), partial(self._pick_sender, message))
        else:
            message.enter("queued", now)
            self._join_queue(message, sender, now)
        return message

    def cancel(self, message: TwilioMessage, now: float) -> None:
        """Take a message back. Raises `Refusal` when it is too late."""
        if message.status not in CANCELABLE:
            raise Refusal(30409)
        message.enter("canceled", now)
        self._notify(message, now)

    def _make(self, draft: Draft, ending: Ending | None, now: float) -> TwilioMessage:
        media = draft.media[:1] if draft.is_whatsapp else draft.media  # WhatsApp ignores further ones
        body = self._body(draft)
        return TwilioMessage(
            sid=self._new_sid("MM" if media else "SM"),
            ordinal=self._store.next_ordinal(),
            direction="outbound-api",
            to=draft.to,
            from_=None if draft.service_sid else draft.from_,
            service_sid=draft.service_sid,
            body=body,
            media=media,
            segments=segments_of(draft.to, body, media),
            created=now,
            updated=now,
            content_sid=draft.content_sid,
            callback=draft.callback,
            validity=int(draft.validity) if draft.validity else MAX_VALIDITY,
            ending=ending,
            params=draft.form,
        )

    def _body(self, draft: Draft) -> str:
        if draft.content_sid is not None:
            template = self._world.templates.get(draft.content_sid)
            return template.render(variables_of(draft)) if template else ""
        body = draft.body or ""
        if draft.media and not draft.is_whatsapp and country_of_e164(draft.to) not in MMS_COUNTRIES:
            return "\n".join(filter(None, (body, *draft.media)))
        return body

    def _pick_sender(self, message: TwilioMessage, at: float) -> None:
        if message.status == "canceled":
            return
        assert message.service_sid is not None
        sender = self._world.pick_sender(message.service_sid, message.to)
        if sender is None:
            self._enter(message, (Step("failed", 0, 21703),), at)
            return
        message.from_ = sender
        if self._world.queues.is_full(sender, message.segments, at):
            self._enter(message, (Step("failed", 0, 30001),), at)
            return
        self._enter(message, (Step("queued", 0),), at)
        self._join_queue(message, sender, at)

    def _join_queue(self, message: TwilioMessage, sender: str, at: float) -> None:
        leaves_at = self._world.queues.join(sender, message.segments, at)
        expires_at = message.created + message.validity
        if leaves_at > max(at, expires_at):
            self._agenda.at(expires_at, partial(self._enter, message, (Step("failed", 0, 30036),)))
        elif leaves_at > at:
            self._agenda.at(leaves_at, partial(self._leave_queue, message))
        else:
            self._leave_queue(message, at)

    def _leave_queue(self, message: TwilioMessage, at: float) -> None:
        self._schedule(message, self._journey(message, at), at)

    def _journey(self, message: TwilioMessage, at: float) -> tuple[Step, ...]:
        """The rest of its life, known once its turn has come."""
        delays, ending = self._delays, message.ending
        failure = next((code for check in FAILURES if (code := check(message, self._world, at))), None)
        if ending is not None and ending.status == "failed":
            failure = ending.code
        if failure is not None:
            return (Step("failed", delays.sent, failure),)
        sent: tuple[Step, ...] = (Step("sent", delays.sent),)
        if self._random.random() < self._world.settings.sending_share:
            sent = (Step("sending", delays.sent), Step("sent", 0))
        if ending is not None and ending.status == "sent":
            return sent
        if ending is not None and ending.status == "undelivered":
            return (*sent, Step("undelivered", delays.delivered, ending.code))
        read = (Step("read", delays.read),) if self._will_be_read(message) else ()
        return (*sent, Step("delivered", delays.delivered), *read)

    def _will_be_read(self, message: TwilioMessage) -> bool:
        return message.is_whatsapp and message.ending is None and self._world.settings.read_receipts

    def _schedule(self, message: TwilioMessage, steps: tuple[Step, ...], at: float) -> None:
        self._agenda.at(at + self._stretched(steps[0].after), partial(self._enter, message, steps))

    def _enter(self, message: TwilioMessage, steps: tuple[Step, ...], at: float) -> None:
        if message.status == "canceled":
            return
        message.enter(steps[0].status, at, steps[0].code)
        self._notify(message, at)
        if len(steps) > 1:
            self._schedule(message, steps[1:], at)

    def _stretched(self, seconds: float) -> float:
        return seconds * (1 + self._delays.jitter * self._random.uniform(-1, 1))


def _opted_out(message: TwilioMessage, world: World, _at: float) -> int | None:
    if message.service_sid is None or message.is_whatsapp:
        return None
    return 21610 if world.has_opted_out(message.service_sid, message.to) else None


def _same_party(message: TwilioMessage, _world: World, _at: float) -> int | None:
    return 63031 if message.is_whatsapp and message.to == message.from_ else None


def _window(message: TwilioMessage, world: World, at: float) -> int | None:
    if not message.is_whatsapp or world.is_window_open(message.from_ or "", message.to, at):
        return None
    if message.content_sid is None:
        return 63016
    template = world.templates.get(message.content_sid)
    # One that is not decided on yet counts as free-form.
    return TEMPLATE_CODES.get(template.status, 63016) if template else None


def _template(message: TwilioMessage, world: World, _at: float) -> int | None:
    template = world.templates.get(message.content_sid or "")
    if template is None or not message.is_whatsapp:
        return None
    if not is_complete(message.body):
        return 63028
    if len(message.body) > MAX_TEMPLATE_TEXT:
        return 63021
    # No marketing to the United States since April 2025: https://www.twilio.com/docs/api/errors/63049
    is_american = country_of_e164(message.to.removeprefix(WHATSAPP_PREFIX)) == "US"
    return 63049 if is_american and template.category == "MARKETING" else None


#: Why a message that the API took is not sent, asked in order when its turn has come.
FAILURES: tuple[Callable[[TwilioMessage, World, float], int | None], ...] = (
    _opted_out,
    _same_party,
    _window,
    _template,
)

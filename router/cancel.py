"""Taking back what has not been sent."""

from __future__ import annotations

from dataclasses import dataclass, replace

from channels.errors import SendError
from channels.model import ProviderMessageId
from channels.port import Canceler, Fetcher
from channels.reasons import Reason
from channels.status import ENDED_BADLY, DeliveryStatus
from router.clock import Clock
from router.events import Happening
from router.ledger import ConflictError, Ledger
from router.providers import OpenChannels
from router.story import Attempt, Story

_MAY_ARRIVE = "a message that nothing was heard of is with the provider and may arrive; nothing more is sent"


async def provider_takes_back(channels: OpenChannels, story: Story, attempt: Attempt) -> bool:
    """Whether the provider still had this attempt's message and will not send it."""
    canceler: object = channels.of(story.snapshot.plan[attempt.step])
    if not isinstance(canceler, Canceler) or attempt.provider_message_id is None:
        return False
    try:
        return await canceler.cancel(ProviderMessageId(attempt.provider_message_id))
    except SendError:
        return False  # its callback says what became of it


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it came in time, and why not."""

    in_time: bool
    because: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ends a story that has not reached its recipient.

    The end is one more event, appended by compare-and-set: an attempt that is claimed at the same moment either comes
    first, and is said to be too late for, or finds the story closed and is not made.
    """

    ledger: Ledger
    channels: OpenChannels
    clock: Clock

    async def take_back(self, source: str, notification_id: str) -> Verdict | None:
        """None: the log has no such notification."""
        while True:
            story = await self.ledger.read(source, notification_id)
            if not story.begun:
                return None
            if story.snapshot.closed:
                if story.status == DeliveryStatus.CANCELED and any(each.given_up for each in story.snapshot.attempts):
                    return Verdict(in_time=False, because=_MAY_ARRIVE)
                if story.status == DeliveryStatus.CANCELED:
                    return Verdict(in_time=True, because="it was taken back")
                return Verdict(in_time=False, because="it has ended already")
            try:
                return await self._take_back(story)
            except ConflictError:
                continue

    async def _take_back(self, story: Story) -> Verdict:
        attempt = story.snapshot.latest
        if attempt is not None and attempt.given_up:
            return await self._take_back_given_up(story, attempt)
        if attempt is None or attempt.status in ENDED_BADLY:
            await self._close(story, attempt)
            return Verdict(in_time=True, because="nothing of it was on its way")
        if attempt.status in {DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN}:
            return Verdict(in_time=False, because="it is being sent, or nobody can say whether it was")
        if await provider_takes_back(self.channels, story, attempt):
            await self._close(story, attempt)
            return Verdict(in_time=True, because="the provider had not sent it yet")
        return Verdict(in_time=False, because="the provider has sent it")

    async def _take_back_given_up(self, story: Story, attempt: Attempt) -> Verdict:
        """Nothing was heard of a message and the next step waits: that is stopped, whatever becomes of the message."""
        if not await self._will_not_arrive(story, attempt):
            await self._close(story, attempt)
            return Verdict(in_time=False, because=_MAY_ARRIVE)
        taken_back = attempt.moved(DeliveryStatus.CANCELED, None)
        await self._close(replace(story, snapshot=story.snapshot.marking(taken_back)), taken_back)
        return Verdict(in_time=True, because="the provider had not sent it yet")

    async def _will_not_arrive(self, story: Story, attempt: Attempt) -> bool:
        """Follow-up asked the provider for it before, so it may have been taken back already."""
        if await provider_takes_back(self.channels, story, attempt):
            return True
        fetcher: object = self.channels.of(story.snapshot.plan[attempt.step])
        if not isinstance(fetcher, Fetcher) or attempt.provider_message_id is None:
            return False
        try:
            report = await fetcher.fetch(ProviderMessageId(attempt.provider_message_id))
        except SendError:
            return False
        return report.status is DeliveryStatus.CANCELED

    async def _close(self, story: Story, attempt: Attempt | None) -> None:
        """The last event. An attempt that failed stays failed: then it is the notification that is canceled."""
        happening = Happening(DeliveryStatus.CANCELED.value, self.clock(), final=True, reason=Reason.CANCELED)
        snapshot = replace(story.snapshot, closed=True, events=story.snapshot.events + 1)
        if story.snapshot.plan:
            step = story.snapshot.plan[attempt.step if attempt else 0]
            happening = replace(happening, channel=step.channel, form=step.form.value, sender=step.sender)
        if attempt is not None and attempt.status not in ENDED_BADLY:
            sid = attempt.provider_message_id
            happening = replace(happening, attempt=attempt.number, provider_message_id=sid)
            moved = attempt.moved(DeliveryStatus.CANCELED, None)
            snapshot = replace(story.snapshot.with_attempt(moved), closed=True)
        assert story.about is not None
        await self.ledger.append(story.about, happening, snapshot, after=story.sequence)

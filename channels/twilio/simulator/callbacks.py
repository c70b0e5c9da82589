"""Status callbacks: their fields, and the pool of workers that delivers them.

No callback is lost but where a fault says so, or the webhook refused all its tries. Callbacks of one message are first
tried in order; a retry may arrive after a later one, as Twilio warns it may.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial

from channels.twilio.simulator.codes import meaning
from channels.twilio.simulator.core import Core
from channels.twilio.simulator.hooks import Fields, HookClient, HookRequest, hook_request
from channels.twilio.simulator.messages import API_VERSION, TwilioMessage

#: Carriers' receipts say when: YYMMDDhhmm.
_WITH_RECEIPT_DATE = ("delivered", "undelivered")
_FAILURES = ("failed", "undelivered")


def callback_fields(message: TwilioMessage, account_sid: str, at: float) -> Fields:
    """The form of a status callback: https://www.twilio.com/docs/messaging/guides/track-outbound-message-status."""
    fields = {
        "AccountSid": account_sid,
        "ApiVersion": API_VERSION,
        "MessageSid": message.sid,
        "SmsSid": message.sid,
        "MessageStatus": message.status,
        "SmsStatus": message.status,
        "To": message.to,
    }
    if message.from_ is not None:
        fields["From"] = message.from_
    if message.service_sid is not None:
        fields["MessagingServiceSid"] = message.service_sid
    if message.error_code is not None and message.status in _FAILURES:
        fields["ErrorCode"] = str(message.error_code)
    fields.update(_whatsapp_fields(message) if message.is_whatsapp else _carrier_fields(message, at))
    return tuple(fields.items())


def _whatsapp_fields(message: TwilioMessage) -> dict[str, str]:
    fields = {"ChannelInstallSid": f"XE{'0' * 32}", "ChannelPrefix": "whatsapp"}
    if message.error_code is not None and message.status in _FAILURES:
        fields["ChannelStatusMessage"] = meaning(message.error_code)
    if message.status == "read":
        fields["EventType"] = "READ"
    return fields


def _carrier_fields(message: TwilioMessage, at: float) -> dict[str, str]:
    if message.status not in _WITH_RECEIPT_DATE:
        return {}
    return {"RawDlrDoneDate": datetime.fromtimestamp(at, UTC).strftime("%y%m%d%H%M")}


class CallbackPool:
    """Delivers callbacks, a bounded number at a time."""

    def __init__(self, core: Core, client: HookClient) -> None:
        self._core = core
        self._client = client
        self._random = core.callback_random
        self._counts = core.counts
        self._queues: list[asyncio.Queue[tuple[HookRequest, int]]] = [
            asyncio.Queue() for _ in range(core.settings.callback_workers)
        ]
        self._workers: list[asyncio.Task[None]] = []
        self.pending = 0  #: callbacks waiting, being sent or to be sent again

    def start(self) -> None:
        """Start the workers, in the running loop."""
        self._workers = [asyncio.create_task(self._work(queue)) for queue in self._queues]

    async def stop(self) -> None:
        """Stop at once; what is pending waits for the next start."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers.clear()

    def notify(self, message: TwilioMessage, at: float) -> None:
        """Call back about the message's present status, unless a fault has it otherwise."""
        if message.callback is None:
            return
        fields = callback_fields(message, self._core.settings.account_sid, at)
        request = hook_request(message.callback, fields, self._core.new_sid(""), message.ordinal)
        faults = self._core.plan.faults
        if self._strikes(faults.callbacks_lost, "lost"):
            return
        self._send(request, faults.reorder_seconds if self._strikes(faults.callbacks_reordered, "reordered") else 0)
        if self._strikes(faults.callbacks_repeated, "repeated"):
            self._send(request, 0)

    def _strikes(self, share: float, name: str) -> bool:
        if self._random.random() >= share:
            return False
        self._counts[f"callbacks_{name}"] += 1
        return True

    def _send(self, request: HookRequest, delay: float) -> None:
        self.pending += 1
        self._enqueue_after(delay, request, 0)

    def _enqueue_after(self, delay: float, request: HookRequest, retries_done: int) -> None:
        if delay:
            self._core.agenda.at(self._core.clock.now() + delay, partial(self._enqueue, request, retries_done))
        else:
            self._enqueue(request, retries_done, 0)

    def _enqueue(self, request: HookRequest, retries_done: int, _at: float) -> None:
        self._queues[request.shard % len(self._queues)].put_nowait((request, retries_done))

    async def _work(self, queue: asyncio.Queue[tuple[HookRequest, int]]) -> None:
        while True:
            request, retries_done = await queue.get()
            try:
                await self._deliver(request, retries_done)
            except asyncio.CancelledError:
                queue.put_nowait((request, retries_done))
                raise

    async def _deliver(self, request: HookRequest, retries_done: int) -> None:
        answer = await self._client.post(request)
        self._counts["callbacks_tried"] += 1
        if answer.failure is None:
            self._counts["callbacks_taken"] += 1
        elif self._client.may_retry(request, answer, retries_done):
            self._counts["callbacks_retried"] += 1
            self._enqueue_after(self._client.pause_before(retries_done + 1), request, retries_done + 1)
            return
        else:
            self._counts[f"callbacks_failed_{answer.failure}"] += 1
        self.pending -= 1

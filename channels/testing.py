"""The contract that every channel adapter keeps, as tests to inherit. Needs pytest and pytest-asyncio.

    class TestMyChannel(ChannelContract):
        @asynccontextmanager
        async def make_adapter(self, situation):
            ...  # a server, or whatever stands for the provider, that answers as the situation says
            yield Rig(channel, calls=lambda: server.calls)

    class TestMyWebhooks(WebhooksContract):
        ...

An adapter is asked nothing but `send`; the suite looks at what it returns or raises, at how often the provider was
called, and at what leaked. The provider's answers in `REJECTED`, `OPTED_OUT` and `UNKNOWN_CODE` should repeat the
message's body and numbers, as real ones do, so that the suite sees that the adapter drops them.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

import pytest

from channels.errors import (
    CallbackError,
    ChannelConfigError,
    OutcomeUnknownError,
    PayloadError,
    ProviderRejectedError,
    ProviderResponseError,
    ProviderThrottledError,
    ProviderUnavailableError,
    RecipientOptedOutError,
    SendError,
    SignatureError,
)
from channels.model import (
    SMS,
    AttemptRef,
    FromNumber,
    NotificationId,
    OutboundMessage,
    PhoneNumber,
    Sender,
    SenderKind,
    Text,
)
from channels.port import Channel, WebhookRequest, Webhooks

#: Stands in the message's text: recognised wherever it leaks.
BODY = "Your package 4711-quagga is at the door"
RECIPIENT = "+15017122661"
SENDER = "+15558675310"

#: Seconds that anything in the suite may take: no measure of speed, so a busy machine has time enough.
PATIENCE = 30.0


class Situation(StrEnum):
    """What the provider does with the one message that is sent to it."""

    ACCEPTED = "accepted"  #: takes it
    UNAUTHORIZED = "unauthorized"  #: refuses our credentials (401)
    THROTTLED = "throttled"  #: refuses for the rate (429), and asks for `ChannelContract.retry_after` seconds
    CONNECTION_REFUSED = "connection_refused"  #: is not there at all
    SERVER_ERROR = "server_error"  #: fails (500) after it has read the request
    NO_ANSWER = "no_answer"  #: reads the request and says nothing
    DISCONNECTED = "disconnected"  #: reads the request and drops the connection
    TRUNCATED = "truncated"  #: drops the connection in the middle of a success
    GARBAGE_SUCCESS = "garbage_success"  #: a success that cannot be read
    EMPTY_SUCCESS = "empty_success"  #: a success that names no message
    GARBAGE_REFUSAL = "garbage_refusal"  #: a refusal (400) that names no code: something in between answers
    REJECTED = "rejected"  #: refuses the message with a code (`ChannelContract.rejected_code`)
    OPTED_OUT = "opted_out"  #: refuses because the recipient said stop
    UNKNOWN_CODE = "unknown_code"  #: refuses with a code that nobody knows


#: What each situation but `ACCEPTED` must raise, to the class: a subclass says more than is known.
EXPECTED: Mapping[Situation, type[SendError]] = {
    Situation.UNAUTHORIZED: ChannelConfigError,
    Situation.THROTTLED: ProviderThrottledError,
    Situation.CONNECTION_REFUSED: ProviderUnavailableError,
    Situation.SERVER_ERROR: OutcomeUnknownError,
    Situation.NO_ANSWER: OutcomeUnknownError,
    Situation.DISCONNECTED: OutcomeUnknownError,
    Situation.TRUNCATED: OutcomeUnknownError,
    Situation.GARBAGE_SUCCESS: OutcomeUnknownError,
    Situation.EMPTY_SUCCESS: OutcomeUnknownError,
    Situation.GARBAGE_REFUSAL: ProviderResponseError,
    Situation.REJECTED: ProviderRejectedError,
    Situation.OPTED_OUT: RecipientOptedOutError,
    Situation.UNKNOWN_CODE: ProviderRejectedError,
}


@dataclass(frozen=True, slots=True)
class Rig:
    """An adapter and the provider behind it."""

    channel: Channel
    calls: Callable[[], int]  #: how many requests to send a message reached the provider


def a_message() -> OutboundMessage:
    """A text message whose body, recipient and sender are recognised wherever they leak."""
    sender = Sender(
        name="contract",
        kind=SenderKind.LONG_CODE,
        channels=frozenset({SMS}),
        origin=FromNumber(SENDER),
        country="US",
        countries=frozenset(),
        rate=1.0,
    )
    ref = AttemptRef("contract", NotificationId("n-1"), 1, "token-1")
    return OutboundMessage(ref, SMS, sender, PhoneNumber(RECIPIENT, "US"), Text(BODY))


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as it holds; fail after `PATIENCE` seconds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is awaited is the provider's side, which knows no event
            await asyncio.sleep(0.005)


class ChannelContract:
    """Inherit in a class that pytest collects, and supply `make_adapter`."""

    #: Seconds that `THROTTLED` asks to wait; None where the provider cannot say.
    retry_after: ClassVar[float | None] = 7.0
    #: The provider's code in `REJECTED`.
    rejected_code: ClassVar[int | str] = "rejected"
    #: Situations that this provider cannot be in, and why; they are skipped with that sentence.
    cannot_happen: ClassVar[Mapping[Situation, str]] = {}
    #: Values that no error, log or repr may hold, besides the message's own: credentials.
    secrets: ClassVar[tuple[str, ...]] = ()

    def make_adapter(self, situation: Situation) -> AbstractAsyncContextManager[Rig]:
        """A fresh adapter whose provider answers like this; its timeout should be well under a second."""
        raise NotImplementedError

    def message(self) -> OutboundMessage:
        """What is sent; override for a channel that is not for text messages to phone numbers."""
        return a_message()

    def private(self) -> tuple[str, ...]:
        """What must not leak."""
        return (BODY, RECIPIENT, RECIPIENT.lstrip("+"), SENDER, SENDER.lstrip("+"), *self.secrets)

    async def test_it_is_a_channel(self) -> None:
        async with self.make_adapter(Situation.ACCEPTED) as rig:
            assert isinstance(rig.channel, Channel)
            assert rig.channel.name
            assert rig.channel.provider

    async def test_an_accepted_message_gives_a_receipt_with_the_providers_id(self) -> None:
        async with self.make_adapter(Situation.ACCEPTED) as rig:
            receipt = await rig.channel.send(self.message())
            assert receipt.provider_message_id
            assert receipt.provider_status
            assert rig.calls() == 1

    @pytest.mark.parametrize(("situation", "expected"), EXPECTED.items(), ids=str)
    async def test_every_failure_says_what_is_known(self, situation: Situation, expected: type[SendError]) -> None:
        self._skip_what_cannot_happen(situation)
        error = await self._failure(situation)
        assert isinstance(error, expected)

    async def test_a_throttled_send_says_how_long_to_wait(self) -> None:
        error = await self._failure(Situation.THROTTLED)
        assert error.retry_after == self.retry_after

    async def test_a_rejection_carries_the_providers_code(self) -> None:
        error = await self._failure(Situation.REJECTED)
        assert error.provider_code == self.rejected_code

    async def test_an_unknown_code_is_brought_to_an_operator(self) -> None:
        error = await self._failure(Situation.UNKNOWN_CODE)
        assert error.alert

    @pytest.mark.parametrize("situation", [*Situation], ids=str)
    async def test_one_send_is_one_request(self, situation: Situation) -> None:
        self._skip_what_cannot_happen(situation)
        async with self.make_adapter(situation) as rig:
            await asyncio.gather(rig.channel.send(self.message()), return_exceptions=True)
            assert rig.calls() == (0 if situation is Situation.CONNECTION_REFUSED else 1)

    @pytest.mark.parametrize("situation", [*Situation], ids=str)
    async def test_nothing_private_leaks(self, situation: Situation, caplog: pytest.LogCaptureFixture) -> None:
        self._skip_what_cannot_happen(situation)
        with caplog.at_level(logging.DEBUG):
            async with self.make_adapter(situation) as rig:
                (result,) = await asyncio.gather(rig.channel.send(self.message()), return_exceptions=True)
                shown = [repr(rig.channel), repr(result), str(result), *(r.getMessage() for r in caplog.records)]
        if isinstance(result, SendError):
            shown += [*traceback.format_exception(result), repr(result.as_provider_error())]
        leaked = [value for value in self.private() if value in "\n".join(shown)]
        assert not leaked

    async def test_cancellation_propagates(self) -> None:
        async with self.make_adapter(Situation.NO_ANSWER) as rig:
            task = asyncio.ensure_future(rig.channel.send(self.message()))
            await until(lambda: rig.calls() == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def test_sends_at_the_same_time_get_their_own_answers(self) -> None:
        async with self.make_adapter(Situation.ACCEPTED) as rig:
            sends: list[Awaitable[object]] = [rig.channel.send(self._attempt(number)) for number in range(1, 21)]
            receipts = await asyncio.gather(*sends)
            assert len({repr(receipt) for receipt in receipts}) == 20
            assert rig.calls() == 20

    def _attempt(self, number: int) -> OutboundMessage:
        message = self.message()
        return replace(message, ref=replace(message.ref, attempt=number))

    def _skip_what_cannot_happen(self, situation: Situation) -> None:
        if situation in self.cannot_happen:
            pytest.skip(f"{situation}: {self.cannot_happen[situation]}")

    async def _failure(self, situation: Situation) -> SendError:
        async with self.make_adapter(situation) as rig:
            with pytest.raises(SendError) as caught:
                await rig.channel.send(self.message())
        return caught.value


class WebhooksContract:
    """For an adapter with callbacks: inherit, and supply the signed requests."""

    def make_webhooks(self) -> Webhooks:
        """The webhooks under test."""
        raise NotImplementedError

    def status_request(self, *, provider_status: str | None = None, missing: str | None = None) -> WebhookRequest:
        """A signed status callback about `a_message().ref`: delivered, or with this word, or without this field."""
        raise NotImplementedError

    def inbound_request(self, text: str, *, missing: str | None = None) -> WebhookRequest:
        """A signed inbound text message from `RECIPIENT`, or one without this field."""
        raise NotImplementedError

    #: Fields that a status callback and an inbound message cannot do without.
    required_status_fields: ClassVar[tuple[str, ...]] = ()
    required_inbound_fields: ClassVar[tuple[str, ...]] = ()
    #: The header that carries the signature, in lower case.
    signature_header: ClassVar[str] = ""

    def test_a_signed_callback_names_its_attempt(self) -> None:
        report = self.make_webhooks().status(self.status_request())
        assert report.ref == a_message().ref
        assert report.status == "delivered"
        assert report.provider_message_id

    def test_the_same_callback_twice_is_the_same_report(self) -> None:
        webhooks = self.make_webhooks()
        assert webhooks.status(self.status_request()) == webhooks.status(self.status_request())

    def test_an_unknown_status_is_kept_in_the_providers_words(self) -> None:
        report = self.make_webhooks().status(self.status_request(provider_status="teleported"))
        assert report.status is None
        assert report.provider_status == "teleported"

    def test_a_signed_inbound_message_is_read(self) -> None:
        message = self.make_webhooks().inbound(self.inbound_request(BODY))
        assert message.text == BODY
        assert message.from_.address == RECIPIENT
        assert message.keyword is None

    @pytest.mark.parametrize("signature", [None, "", "wrong", "ÿ", "\udcff"])
    def test_a_request_without_a_good_signature_is_refused(self, signature: str | None) -> None:
        webhooks = self.make_webhooks()
        for request, read in ((self.status_request(), webhooks.status), (self.inbound_request(BODY), webhooks.inbound)):
            headers = {name: value for name, value in request.headers.items() if name != self.signature_header}
            if signature is not None:
                headers[self.signature_header] = signature
            with pytest.raises(SignatureError):
                read(replace(request, headers=headers))

    def test_a_changed_request_is_refused(self) -> None:
        webhooks, request = self.make_webhooks(), self.status_request()
        for forged in (
            replace(request, body=request.body + b"&Extra=1"),
            replace(request, query=request.query + "&extra=1"),
            replace(request, path=request.path + "/more"),
        ):
            with pytest.raises(SignatureError):
                webhooks.status(forged)

    def test_a_missing_field_is_named(self) -> None:
        webhooks = self.make_webhooks()
        for field in self.required_status_fields:
            with pytest.raises(PayloadError, match=field):
                webhooks.status(self.status_request(missing=field))
        for field in self.required_inbound_fields:
            with pytest.raises(PayloadError, match=field):
                webhooks.inbound(self.inbound_request(BODY, missing=field))

    @pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"&&==&", b"%ff=%ff", b"a=1&a=2", b"x" * 2_000_000])
    def test_whatever_comes_in_the_answer_is_a_callback_error(self, body: bytes) -> None:
        webhooks = self.make_webhooks()
        with pytest.raises(CallbackError):
            webhooks.status(replace(self.status_request(), body=body))
        with pytest.raises(CallbackError):
            webhooks.inbound(replace(self.inbound_request(BODY), body=body))

    def test_a_reply_is_taken_with_and_without_text(self) -> None:
        webhooks = self.make_webhooks()
        assert webhooks.reply(None).status in (200, 204)
        assert b"See you" in webhooks.reply("See you").body

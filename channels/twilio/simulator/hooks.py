"""Webhook requests as Twilio makes them: signed, form-encoded, retried as the URL's fragment says.

https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qs, urlencode

import aiohttp
from twilio.request_validator import RequestValidator
from yarl import URL

Fields = Sequence[tuple[str, str]]

CONTENT_TYPE = "application/x-www-form-urlencoded; charset=utf-8"
USER_AGENT = "TwilioProxy/1.1"
#: Shorter than any server's own, so that we never write to a connection the other side is closing.
KEEPALIVE_SECONDS = 2.0
MAX_RETRIES = 5
#: An answer of that class, a connection that failed, an answer that did not come in time.
FAILURE_KINDS = frozenset({"4xx", "5xx", "ct", "rt"})
#: Without a policy of its own, a webhook that answers 5xx or too late is not tried again.
DEFAULT_POLICY = frozenset({"ct"})


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the fragment of a webhook URL asks for."""

    retries: int
    retry_on: frozenset[str]  #: of FAILURE_KINDS
    timeout: aiohttp.ClientTimeout


@dataclass(frozen=True, slots=True)
class HookRequest:
    """One webhook request, ready to be sent any number of times."""

    url: str  #: without its fragment, which is neither sent nor signed
    overrides: Overrides
    fields: Fields
    token: str  #: I-Twilio-Idempotency-Token: the same for every repetition
    shard: int = 0  #: requests of one message share it, so that they stay in order
    method: str = "POST"  #: or "GET", with the fields in the query


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """What the webhook said; `failure` is one of FAILURE_KINDS, None when it took the request."""

    failure: str | None
    status: int | None = None
    content_type: str | None = None
    body: str = ""


def hook_request(url: str, fields: Fields, token: str, shard: int = 0, method: str = "POST") -> HookRequest:
    """A request to `url`, whose fragment says how to connect and to retry."""
    bare, _, fragment = url.partition("#")
    return HookRequest(bare, overrides_of(fragment), fields, token, shard, method)


@lru_cache(maxsize=256)
def overrides_of(fragment: str) -> Overrides:
    """Read `rc=3&rp=all&ct=2000&rt=5000&tt=9000`; what cannot be read keeps its default."""
    values = {name: given[-1] for name, given in parse_qs(fragment).items()}
    retries = _number(values, "rc", 0, MAX_RETRIES, 1)
    return Overrides(
        retries=retries,
        retry_on=_policy(values.get("rp", "")),
        timeout=aiohttp.ClientTimeout(
            total=_number(values, "tt", 100, 15_000, 15_000) / 1000,
            sock_connect=_number(values, "ct", 100, 10_000, 5_000) / 1000,
            sock_read=_number(values, "rt", 100, 15_000, 15_000) / 1000,
        ),
    )


def _policy(text: str) -> frozenset[str]:
    if text == "all":
        return FAILURE_KINDS
    return frozenset(text.split(",")) & FAILURE_KINDS or DEFAULT_POLICY


def _number(values: Mapping[str, str], name: str, lowest: int, highest: int, default: int) -> int:
    text = values.get(name, "")
    if not (text.isascii() and text.isdigit()) or not lowest <= int(text) <= highest:
        return default
    return int(text)


class HookClient:
    """One HTTP session for all webhooks."""

    def __init__(self, auth_token: str, connections: int, retry_pause: float) -> None:
        self._validator = RequestValidator(auth_token)
        self._connections = connections
        self._retry_pause = retry_pause
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Make the session, in the running loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT, "Content-Type": CONTENT_TYPE, "X-Home-Region": "us1"},
        )

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def pause_before(self, retry: int) -> float:
        """Seconds before the first, second, ... retry."""
        return float(self._retry_pause * 2 ** (retry - 1))

    def may_retry(self, request: HookRequest, answer: HookAnswer, retries_done: int) -> bool:
        """Whether the URL's fragment asks for one more."""
        return answer.failure in request.overrides.retry_on and retries_done < request.overrides.retries

    async def post(self, request: HookRequest) -> HookAnswer:
        """Send it once."""
        assert self._session is not None
        url, fields = request.url, dict(request.fields)
        if request.method == "GET":
            url, fields = f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}", {}
        headers = {
            "X-Twilio-Signature": str(self._validator.compute_signature(url, fields)),
            "I-Twilio-Idempotency-Token": request.token,
        }
        try:
            async with self._session.request(
                request.method,
                URL(url, encoded=True),
                data=urlencode(fields).encode(),
                headers=headers,
                timeout=request.overrides.timeout,
                allow_redirects=False,
            ) as response:
                return await _read(response)
        except (aiohttp.ServerTimeoutError, TimeoutError) as error:
            return HookAnswer("ct" if isinstance(error, aiohttp.ConnectionTimeoutError) else "rt")
        except aiohttp.ClientError:
            # Refused or cut off: Twilio files both under its failed connections (11205).
            return HookAnswer("ct")

    async def post_with_retries(self, request: HookRequest) -> HookAnswer:
        """Send it as often as its fragment allows, waiting in between."""
        answer = await self.post(request)
        for retry in range(1, request.overrides.retries + 1):
            if not self.may_retry(request, answer, retry - 1):
                break
            await asyncio.sleep(self.pause_before(retry))
            answer = await self.post(request)
        return answer


async def _read(response: aiohttp.ClientResponse) -> HookAnswer:
    body = await response.text(errors="replace")
    failure = {4: "4xx", 5: "5xx"}.get(response.status // 100)
    return HookAnswer(failure, response.status, response.content_type, body)

"""The list of messages: filters, pages and their links.

https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from channels.twilio.simulator.codes import Refusal
from channels.twilio.simulator.messages import API_VERSION, MessageStore, TwilioMessage

DEFAULT_PAGE = 50
MAX_PAGE = 1000
_TOKEN_PREFIX = "PA"  # noqa: S105 - a page's token, no secret
#: Filter -> whether a message's day passes it. The bounds are inclusive.
_DATE_FILTERS = {
    "DateSent": lambda sent, given: sent == given,
    "DateSent>": lambda sent, given: sent >= given,
    "DateSent<": lambda sent, given: sent <= given,
}


@dataclass(frozen=True, slots=True)
class Query:
    """One page's request."""

    to: str | None
    from_: str | None
    days: Mapping[str, date]  #: of _DATE_FILTERS
    page: int
    page_size: int
    token: str | None

    def matches(self, message: TwilioMessage) -> bool:
        """Whether the message passes the filters. What is not sent yet has no day, and passes none on the day."""
        if self.from_ is not None and message.from_ != self.from_:
            return False
        if not self.days:
            return True
        if message.sent is None:
            return False
        sent_on = datetime.fromtimestamp(message.sent, UTC).date()
        return all(_DATE_FILTERS[name](sent_on, day) for name, day in self.days.items())


def query_of(params: Mapping[str, str]) -> Query:
    """Read the query string. Raises `Refusal`."""
    return Query(
        to=params.get("To") or None,
        from_=params.get("From") or None,
        days={name: _day(params[name]) for name in _DATE_FILTERS if params.get(name)},
        page=_whole(params.get("Page"), 0),
        page_size=_page_size(params.get("PageSize")),
        token=params.get("PageToken") or None,
    )


def _day(text: str) -> date:
    """Filters are as fine as a day (GMT): of a time, only the day counts."""
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise Refusal(20001) from None


def _whole(text: str | None, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Refusal(20001)
    return int(text)


def _page_size(text: str | None) -> int:
    size = _whole(text, DEFAULT_PAGE)
    if size > MAX_PAGE:
        raise Refusal(20007)
    return max(1, size)


def page_of(store: MessageStore, query: Query, account_sid: str) -> dict[str, Any]:
    """One page, newest first. Raises `Refusal` for a token that was never given out."""
    before = _ordinal_of(store, query.token)
    candidates = (
        message
        for message in store.newest_first(query.to)
        if (before is None or message.ordinal < before) and query.matches(message)
    )
    found = list(islice(candidates, query.page_size + 1))
    shown = found[: query.page_size]
    start = query.page * query.page_size
    next_uri = None
    if len(found) > len(shown):
        next_uri = _uri(account_sid, query, query.page + 1, f"{_TOKEN_PREFIX}{shown[-1].sid}")
    return {
        "messages": [message.resource(account_sid) for message in shown],
        "page": query.page,
        "page_size": query.page_size,
        "start": start,
        "end": start + max(0, len(shown) - 1),
        "uri": _uri(account_sid, query, query.page, query.token),
        "first_page_uri": _uri(account_sid, query, 0, None),
        "next_page_uri": next_uri,
        "previous_page_uri": None,
    }


def _ordinal_of(store: MessageStore, token: str | None) -> int | None:
    if token is None:
        return None
    message = store.get(token.removeprefix(_TOKEN_PREFIX))
    if message is None:
        raise Refusal(21481)
    return message.ordinal


def _uri(account_sid: str, query: Query, page: int, token: str | None) -> str:
    params = {
        "To": query.to,
        "From": query.from_,
        **{name: day.isoformat() for name, day in query.days.items()},
        "PageSize": query.page_size,
        "Page": page,
        "PageToken": token,
    }
    given = {name: value for name, value in params.items() if value is not None}
    return f"/{API_VERSION}/Accounts/{account_sid}/Messages.json?{urlencode(given)}"

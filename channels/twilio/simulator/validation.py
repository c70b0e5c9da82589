"""What the API refuses at once, and with which code: a table of checks, asked in order.

With a Messaging Service the sender is not known yet, so what depends on it is found out later and arrives in a
callback: https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import urlsplit

from yarl import URL

from channels.address import country_of_e164
from channels.twilio.simulator.codes import Refusal
from channels.twilio.simulator.content import parse_variables
from channels.twilio.simulator.drafts import Draft
from channels.twilio.simulator.messages import WHATSAPP_PREFIX
from channels.twilio.simulator.world import World

MAX_BODY = 1600  # characters
MAX_MEDIA = 10
MAX_VALIDITY = 36_000  # seconds
MAX_URL = 8192  # characters

#: Numbers that always answer with one code: https://www.twilio.com/docs/iam/test-credentials
MAGIC_TO = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
MAGIC_FROM = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
#: The one magic sender that works.
MAGIC_SENDER = "+15005550006"

_PHONE = r"\+(?:1[2-9][0-9]{9}|[2-9][0-9]{6,14})"
_PHONE_NUMBER = re.compile(_PHONE)
_SHORT_CODE = re.compile(r"[0-9]{3,8}")
_ALPHANUMERIC = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 +_&-]{1,11}")
_WHATSAPP_SENDER = re.compile(rf"whatsapp:{_PHONE}")
#: A phone number or a business-scoped user id.
_WHATSAPP_RECIPIENT = re.compile(rf"whatsapp:(?:{_PHONE}|[A-Z]{{2}}\.[A-Za-z0-9]{{1,128}})")
_SERVICE_SID = re.compile(r"MG[0-9a-f]{32}")
_URL_TEXT = re.compile(r"[\x21-\x7e]+")
#: Alphanumeric senders do not reach these countries.
_NO_ALPHANUMERIC = ("US", "CA")

Check = Callable[[Draft, World, float], int | None]


def validate(draft: Draft, world: World, now: float) -> None:
    """Raise the `Refusal` of the first check that objects."""
    for check in CHECKS:
        code = check(draft, world, now)
        if code is not None:
            raise Refusal(code)


def _parties(draft: Draft, _world: World, _now: float) -> int | None:
    if not draft.to:
        return 21604
    return 21603 if draft.from_ is None and draft.service_sid is None else None


def _content(draft: Draft, _world: World, _now: float) -> int | None:
    if draft.content_sid is not None:
        return None
    if not draft.body and not draft.media:
        return 21619 if draft.body is None else 21602
    if draft.body and len(draft.body) > MAX_BODY:
        return 21617
    return None


def _media(draft: Draft, _world: World, _now: float) -> int | None:
    if len(draft.media) > MAX_MEDIA:
        return 21623
    return None if all(is_url(url) for url in draft.media) else 21620


def _template(draft: Draft, world: World, _now: float) -> int | None:
    if draft.content_sid is None:
        return None
    if world.template(draft.content_sid) is None:
        return 21655
    return 21656 if parse_variables(draft.content_variables) is None else None


def _recipient(draft: Draft, _world: World, _now: float) -> int | None:
    if draft.to in MAGIC_TO:
        return MAGIC_TO[draft.to]
    if _SHORT_CODE.fullmatch(draft.to):
        return 21265
    form = _WHATSAPP_RECIPIENT if draft.is_whatsapp else _PHONE_NUMBER
    return None if form.fullmatch(draft.to) else 21211


def _service(draft: Draft, world: World, _now: float) -> int | None:
    if draft.service_sid is None:
        return None
    return None if _SERVICE_SID.fullmatch(draft.service_sid) and world.knows_service(draft.service_sid) else 21705


def _sender(draft: Draft, world: World, _now: float) -> int | None:
    sender = draft.from_
    if sender is None:
        return None
    if sender in MAGIC_FROM:
        return MAGIC_FROM[sender]
    on_whatsapp = sender.startswith(WHATSAPP_PREFIX)
    if not _is_sender(sender):
        return 63007 if on_whatsapp else 21212
    # https://www.twilio.com/docs/api/errors/21910
    if on_whatsapp != draft.is_whatsapp:
        return 21910
    if not _is_ours(sender, world):
        return 63007 if on_whatsapp else 21659 if _SHORT_CODE.fullmatch(sender) else 21606
    return None


def _is_sender(sender: str) -> bool:
    return any(form.fullmatch(sender) for form in (_PHONE_NUMBER, _WHATSAPP_SENDER, _SHORT_CODE, _ALPHANUMERIC))


def _is_ours(sender: str, world: World) -> bool:
    owned = world.settings.owned
    return owned is None or sender in owned or sender == MAGIC_SENDER or world.service_of(sender) is not None


def _pair(draft: Draft, world: World, _now: float) -> int | None:
    if draft.to == draft.from_ and not draft.is_whatsapp:
        return 21266
    is_alphanumeric = draft.from_ is not None and not draft.is_whatsapp and _ALPHANUMERIC.fullmatch(draft.from_)
    if is_alphanumeric and country_of_e164(draft.to) in _NO_ALPHANUMERIC:
        return 21612
    blocked = world.settings.blocked_countries
    return 21408 if blocked and not draft.is_whatsapp and country_of_e164(draft.to) in blocked else None


def _options(draft: Draft, _world: World, _now: float) -> int | None:
    if draft.callback is not None and not is_callback_url(draft.callback):
        return 21609
    if draft.validity is not None and not _is_validity(draft.validity):
        return 21624
    return 20001 if draft.send_at is not None and moment_of(draft.send_at) is None else None


def _is_validity(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= MAX_VALIDITY


def _opted_out(draft: Draft, world: World, _now: float) -> int | None:
    if draft.service_sid is not None or draft.from_ is None or draft.is_whatsapp:
        return None
    return 21610 if world.has_opted_out(draft.from_, draft.to) else None


#: The order counts: what is missing before what is malformed, what is malformed before what is not allowed.
CHECKS: tuple[Check, ...] = (
    _parties,
    _content,
    _media,
    _recipient,
    _service,
    _sender,
    _pair,
    _template,
    _options,
    _opted_out,
)


def is_url(text: str) -> bool:
    """Whether this is an http(s) URL that can be written in a request line as it stands."""
    if len(text) > MAX_URL or not _URL_TEXT.fullmatch(text):
        return False
    try:
        return urlsplit(text).scheme in ("http", "https") and bool(URL(text, encoded=True).host)
    except ValueError:
        return False


def is_callback_url(text: str) -> bool:
    """A URL whose host name has no underscore: https://www.twilio.com/docs/api/errors/21609."""
    return is_url(text) and "_" not in (URL(text, encoded=True).host or "")


def moment_of(text: str) -> float | None:
    """`SendAt` (ISO 8601, with an offset) in seconds since the epoch; None where it cannot be read."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def variables_of(draft: Draft) -> Mapping[str, str]:
    """The template's variables of a validated draft."""
    return parse_variables(draft.content_variables) or {}

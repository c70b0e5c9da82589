"""The log: an event name and keys, one line each, as JSON or readable on a terminal, and nothing personal in it.

Our own lines (structlog) and those of libraries (stdlib logging) go through one chain of processors, and the last one
before the renderer is the redactor. It knows two things: keys whose values are never shown, and what phone numbers,
user ids and credentials look like inside any other string. It errs on the side of hiding: a run of digits that could
be a phone number is hidden, unless it is part of a longer token (a SID, a UUID, a date) or stands under a key that
names an identity of the system's own.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, TextIO
from urllib.parse import quote, quote_plus

import structlog
from pydantic_core import to_json
from structlog.typing import EventDict, Processor, WrappedLogger

from router.clock import to_the_second, utc_now

HIDDEN = "***"

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]

_LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
#: Libraries that may have given their loggers handlers of their own.
_LIBRARIES = ("aiohttp", "asyncio", "faststream", "nats", "twilio", "uvicorn")

#: The last word of a key whose value is never shown: "body", "from_", "auth_token", "X-Twilio-Signature".
_PRIVATE = frozenset(
    {
        "authorization",
        "body",
        "content",
        "from",
        "password",
        "recipient",
        "secret",
        "signature",
        "text",
        "to",
        "token",
    }
)
#: Keys of identities: digits under them are no phone number, although a publisher may choose ids of digits alone.
_IDENTITIES = frozenset(
    {
        "dead_letter_id",
        "event_id",
        "instance",
        "message_id",
        "notification_id",
        "provider_message_id",
        "sequence",
        "subject",
        "traceparent",
    }
)
#: Variables of the environment whose values are secrets, by the end of their names.
_SECRET_VARIABLE = re.compile(r"(TOKEN|SECRET|PASSWORD|_KEY)$", re.IGNORECASE)
#: Shorter values are words ("true", "sms"), and hiding them would hide half of the log.
_SHORTEST_SECRET = 6
#: Harmless words that are remembered, and how long they may be.
_MOST_WORDS, _WORD = 1024, 40

_PRIVATE_WORDS = "|".join(sorted(_PRIVATE))
#: Where this does not match, nothing below can: most values are short words, and a log line must cost little.
_SUSPICIOUS = re.compile(r"[=:@ +%()]|[A-Z]{2}\.|\d(?:[-.]?\d){6}")
#: The same for identities, which may consist of digits.
_SUSPICIOUS_IDENTITY = re.compile(r"[=:@ +%()]|[A-Z]{2}\.")
#: Pattern and replacement, applied in this order to every string.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Pydantic repeats what it was given in the text of its errors.
    (re.compile(r"input_value=.*?(?=, input_type=|$)", re.DOTALL), f"input_value={HIDDEN}"),
    # Dictionaries and JSON inside a message: 'Body': 'text', "to": "+1...".
    (
        re.compile(
            rf"""((['"])[\w-]*?(?:{_PRIVATE_WORDS})_?\2\s*:\s*b?)(['"])(?:\\.|(?!\3).)*(?:\3|$)""",
            re.IGNORECASE | re.DOTALL,
        ),
        rf"\1\3{HIDDEN}\3",
    ),
    # Query strings and forms: token=abc, To=%2B1...
    (re.compile(rf"""\b((?:\w+_)?(?:{_PRIVATE_WORDS})(?:=|%3D))[^&\s"']+""", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(basic|bearer)\s+[\w+/=.~-]{4,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"(://)[^/\s@]+@"), rf"\1{HIDDEN}@"),
    # WhatsApp user ids, with and without their scheme: whatsapp:GB.13491208655302741918.
    (re.compile(r"""(whatsapp(?::|%3A))[^\s"',;&)}\]]+""", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b[A-Z]{2}\.(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{8,128}\b"), HIDDEN),
    # E.164, however it is spaced: +12025550143, %2B12025550143, +1 (202) 555-0143.
    (re.compile(r"(?:\+|%2B) ?\d(?:[ ().\-/]{0,2}\d){6,}", re.IGNORECASE), HIDDEN),
)
#: The same number without its plus is hidden only where no identity is expected.
_NATIONAL = re.compile(r"(?<![\w.-])\(?\d{3}\)?[ .-]{1,2}\d{3}[ .-]\d{4}(?![\w-])")
_TOKEN = re.compile(r"(?<![\w-])(?<!\d\.)[\w-]+")
_DIGITS_OF_A_NUMBER = re.compile(r"\d(?:-?\d){6,}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
#: E.164 has 15 digits at most; an exit code before it ("00", "011") makes it 18. Longer runs are clocks and ids.
_LONGEST_NUMBER = 18


class Redactor:
    """Hides what must not be read in a log."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._harmless_words: set[str] = set()  #: found to hide nothing: names of events, channels, senders, statuses

    def register(self, values: Iterable[str]) -> None:
        """Never show these again, in any of the ways in which they are written."""
        for value in values:
            if len(value) >= _SHORTEST_SECRET:
                self._secrets |= _writings(value)
        # The longest first: one secret may be the beginning of another.
        ordered = sorted(self._secrets, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._harmless_words.clear()

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """As a processor of structlog."""
        return event if self._harmless(event) else {key: self.value(value, key) for key, value in event.items()}

    def _harmless(self, event: EventDict) -> bool:
        """Whether nothing in a line can need hiding: found out for all its values at once, and true of most lines."""
        if _holds_private(tuple(event)):
            return False
        known, identities = self._harmless_words, []
        for key, value in event.items():
            if isinstance(value, str):
                if key in _IDENTITIES:
                    identities.append(value)
                elif value not in known and not self._learn(value):
                    return False
            elif value is not None and not isinstance(value, (int, float)):
                return False
        names = "\n".join(identities)
        return not _SUSPICIOUS_IDENTITY.search(names) and (self._pattern is None or not self._pattern.search(names))

    def _learn(self, word: str) -> bool:
        """Whether it is harmless, which is remembered of a short one."""
        if _SUSPICIOUS.search(word) or (self._pattern is not None and self._pattern.search(word)):
            return False
        if len(word) <= _WORD:
            if len(self._harmless_words) >= _MOST_WORDS:
                self._harmless_words.clear()
            self._harmless_words.add(str(word))
        return True

    def value(self, value: Any, key: str = "") -> Any:
        """Any value that stands under this key, with plain types in and out."""
        if _is_private(key) and value is not None:
            return HIDDEN
        if value is None or isinstance(value, (int, float)):  # a bool is an int
            return value
        if isinstance(value, str):
            return self.text(str(value), identity=key in _IDENTITIES)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(each, str(name)) for name, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(each, key) for each in value]
        return self.text(_as_text(value), identity=key in _IDENTITIES)

    def text(self, text: str, *, identity: bool = False) -> str:
        """A string, with everything hidden that looks private; an `identity` may consist of digits."""
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        if not (_SUSPICIOUS_IDENTITY if identity else _SUSPICIOUS).search(text):
            return text
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        if identity:
            return text
        return _TOKEN.sub(_number_hidden, _NATIONAL.sub(HIDDEN, text))


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, BaseException) else repr(value)


@lru_cache(maxsize=1024)
def _is_private(key: str) -> bool:
    return re.split(r"[_\-. ]", key.rstrip("_").lower())[-1] in _PRIVATE


@lru_cache(maxsize=1024)
def _holds_private(keys: tuple[str, ...]) -> bool:
    return any(_is_private(key) for key in keys)


def _number_hidden(token: re.Match[str]) -> str:
    """Hide a token that is nothing but the digits of a phone number; SIDs, UUIDs and dates stay."""
    bare = token[0].strip("-")
    if not _DIGITS_OF_A_NUMBER.fullmatch(bare) or _DATE.fullmatch(bare):
        return token[0]
    return token[0] if len(bare.replace("-", "")) > _LONGEST_NUMBER else HIDDEN


def _writings(secret: str) -> set[str]:
    """A secret as it stands, in URLs, in forms, in JSON, in a repr and in base64."""
    written = {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    return written | {base64.b64encode(secret.encode(errors="surrogatepass")).decode()}


_redactor = Redactor()


def register_secrets(values: Iterable[str]) -> None:
    """Values that are never shown in the log of this process; those of under six characters are words, and ignored."""
    _redactor.register(values)


def secret_values(environ: Mapping[str, str]) -> list[str]:
    """What in an environment is secret, by the names of its variables."""
    return [value for name, value in environ.items() if _SECRET_VARIABLE.search(name)]


def configure(
    format: Format = "auto",  # noqa: A002 - named as the setting is
    level: Level = "info",
    stream: TextIO | None = None,
) -> None:
    """Send every line of this process to `stream` (default: stderr); `auto` is readable on a terminal, else JSON."""
    stream = stream or sys.stderr
    console = format == "console" or (format == "auto" and stream.isatty())
    render = _console(colors=stream.isatty()) if console else _json
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redactor,
        _stamp,
    ]
    structlog.configure(
        processors=[*chain, render],
        # A level that is off costs a call that returns at once.
        wrapper_class=_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    _route_libraries(stream, chain, render, _library_level(level))


def _logger(level: Level) -> type[Any]:
    """Structlog's own, with a shorter way for the lines that a router writes for each notification."""
    filtering: type[Any] = structlog.make_filtering_bound_logger(_LEVELS[level])
    if _LEVELS[level] > logging.INFO:
        return filtering

    class Logger(filtering):  # type: ignore[misc] # made above
        def info(self, event: str, *args: Any, **keys: Any) -> Any:
            if args:
                return super().info(event, *args, **keys)
            line: Any = {**self._context, **keys, "event": event}
            try:
                for processor in self._processors:
                    line = processor(self._logger, "info", line)
            except structlog.DropEvent:
                return None
            return self._logger.info(line)

    return Logger


def _library_level(level: Level) -> int:
    """Libraries speak of what they do, line by line: that is wanted only when somebody looks for a fault."""
    return logging.INFO if level == "debug" else max(_LEVELS[level], logging.WARNING)


def _route_libraries(stream: TextIO, chain: list[Processor], render: Processor, level: int) -> None:
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *chain,
                render,
            ]
        )
    )
    root = logging.getLogger()
    for before in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(before)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True


class _Handler(logging.StreamHandler[TextIO]):
    """One line for each record."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        """A record that cannot be formatted: say whose it is, and not what is in it, as logging itself would."""
        line = {"event": "log.unreadable", "level": "error", "logger": record.name, "line": record.lineno}
        self.stream.write(json.dumps(line) + "\n")


def _stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """When: ISO 8601 in UTC."""
    now = utc_now()
    event["timestamp"] = f"{to_the_second(now)}.{now.microsecond:06d}Z"
    return event


def _json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """What matters first: when, how bad, what; then the keys in the order in which they were given."""
    first = {key: event[key] for key in ("timestamp", "level", "event") if key in event}
    line = {**first, **event}
    try:
        return to_json(line, fallback=repr, inf_nan_mode="constants").decode()
    except ValueError:
        return json.dumps(line, default=repr)  # half a surrogate pair, which UTF-8 cannot hold


def _console(*, colors: bool) -> Callable[[WrappedLogger, str, EventDict], str]:
    # Rich tracebacks would show local variables, and with them whatever was being sent.
    return structlog.dev.ConsoleRenderer(
        colors=colors, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )

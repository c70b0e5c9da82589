"""Who may look: tokens or a proxy's word, signed sessions, and nothing that another site could make a browser do.

A token is given to one person under a name, which is what the log says of whoever reveals something. Sessions are
signed with a key made from the tokens: every router of a deployment honours them, and a changed token ends them all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

TOKEN_VARIABLE = "POINTSMAN_CONSOLE_TOKEN"  # noqa: S105 - the name of a variable
COOKIE = "pointsman_console"
HOURS = 12  #: that a session lasts
_SHORTEST = 16  #: characters of a token
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
#: Methods that change nothing here.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class AccessError(Exception):
    """The console cannot be opened to anybody; the message says what to configure."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who looks."""

    name: str
    until: float  #: seconds since 1970; a page that stays open longer shows nothing more on request


def read_tokens(text: str | None) -> dict[str, str]:
    """`ada=<token>,ben=<token>`, as name -> token. Raises `AccessError`; no message holds a token."""
    tokens: dict[str, str] = {}
    for part in (text or "").split(","):
        name, _, token = part.strip().partition("=")
        if not name and not token:
            continue
        if not _NAME.fullmatch(name) or len(token) < _SHORTEST:
            raise AccessError(f"{TOKEN_VARIABLE} must be name=token,...; each token has {_SHORTEST} characters or more")
        tokens[name] = token
    if not tokens:
        example = "ada=$(openssl rand -hex 16)"
        raise AccessError(f"the console lets nobody in: set {TOKEN_VARIABLE}, for example to {example}")
    return tokens


class Sessions:
    """Says who holds a cookie."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = tokens
        said = json.dumps(sorted(tokens.items())).encode()
        self._key = hashlib.blake2b(said, person=b"console-session").digest()

    def holder(self, token: str) -> str | None:
        """Whose token this is."""
        found = None
        for name, known in self._tokens.items():  # all of them, so that the time tells nothing
            if hmac.compare_digest(known.encode(), token.encode()):
                found = name
        return found

    def begin(self, name: str, now: float) -> str:
        """A cookie's value."""
        said = base64.urlsafe_b64encode(json.dumps([name, now + HOURS * 3600]).encode()).decode()
        return f"{said}.{self._sign(said)}"

    def person(self, cookie: str | None, now: float) -> Person | None:
        """Who it was given to; None where it is forged, old, or its owner has no token any more."""
        said, _, signature = (cookie or "").partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(said).encode()):
            return None
        name, until = json.loads(base64.urlsafe_b64decode(said))
        return Person(name, until) if until > now and name in self._tokens else None

    def _sign(self, said: str) -> str:
        return hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()


class Failures:
    """Wrong tokens: after so many within a minute nobody is let in until some are forgotten."""

    def __init__(self, most: int = 10) -> None:
        self._most = most
        self._at: list[float] = []

    def add(self, now: float) -> None:
        """One more."""
        self._at = [*self._at, now][-self._most :]

    def too_many(self, now: float) -> bool:
        """Whether to refuse without looking."""
        return sum(at > now - 60 for at in self._at) >= self._most


def proxied(headers: Mapping[str, str], peer: str | None, header: str, trusted: Sequence[str]) -> str | None:
    """The name that a trusted proxy says; a header that came from anywhere else says nothing."""
    name = headers.get(header.lower(), "")
    return name if peer in trusted and _NAME.fullmatch(name) else None


def from_elsewhere(method: str, headers: Mapping[str, str], origin: str | None) -> bool:
    """Whether another site made the browser ask. `origin` is ours where a proxy changes the host.

    https://owasp.org/www-community/attacks/csrf: browsers send Origin with every request that could change something
    and with every WebSocket, and Sec-Fetch-Site with all of them.
    """
    said = headers.get("origin")
    if said is not None:
        return not (_same_host(said, headers.get("host", "")) or (origin is not None and said == origin))
    site = headers.get("sec-fetch-site")
    if method in _SAFE:
        return site == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
    return site != "same-origin"


def _same_host(origin: str, host: str) -> bool:
    return bool(host) and urlsplit(origin).netloc == host

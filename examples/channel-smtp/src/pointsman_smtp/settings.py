"""What the channel needs to know: `[providers.smtp]` in the configuration, and secrets from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from channels.errors import ChannelConfigError

_KEYS = {"host", "port", "tls", "subject"}


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """A mail server that relays for us."""

    host: str
    port: int = 587
    tls: str = "starttls"  #: "starttls", "implicit" or "none"
    subject: str = "A message for you"  #: of every mail; `{category}` stands for the notification's
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def read_settings(options: Mapping[str, Any], environ: Mapping[str, str]) -> SmtpSettings:
    """Raises `ChannelConfigError` that names the key and what to do."""
    if unknown := set(options) - _KEYS:
        raise ChannelConfigError(
            f"providers.smtp.{sorted(unknown)[0]}: no such key; there are {', '.join(sorted(_KEYS))}"
        )
    if not isinstance(options.get("host"), str):
        raise ChannelConfigError("providers.smtp.host: name the mail server, for example host = 'smtp.example.com'")
    if options.get("tls", "starttls") not in {"starttls", "implicit", "none"}:
        raise ChannelConfigError("providers.smtp.tls: must be 'starttls', 'implicit' or 'none'")
    return SmtpSettings(**options, user=environ.get("SMTP_USER"), password=environ.get("SMTP_PASSWORD"))

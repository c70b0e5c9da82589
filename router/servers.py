"""The configured NATS servers: their addresses as they may be shown, and TLS to them."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from router.settings import NatsSettings, TlsSettings


def addresses(settings: NatsSettings) -> str:
    """All servers, without the user and password that may stand in their URLs."""
    return ", ".join(_without_secrets(url) for url in settings.servers)


def _without_secrets(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 4222}"


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """A context that knows the configured files. OSError when one of them cannot be read."""
    context = ssl.create_default_context(cafile=str(settings.ca) if settings.ca else None)
    if settings.cert:
        context.load_cert_chain(str(settings.cert), str(settings.key) if settings.key else None)
    return context

"""`pointsman doctor`: everything that can be looked at before something is sent, one finding after the other.

It changes nothing: no stream is made, no message sent. What depends on something that failed is left out, because a
second sentence about the same trouble helps nobody.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from channels.port import Finding
from router.doctor import configuration, nats, provider
from router.settings import Settings


async def examine(settings: Settings, environ: Mapping[str, str]) -> AsyncGenerator[Finding, None]:
    """Configuration and policy, NATS, then each provider with its senders, templates and webhooks."""
    for finding in configuration.findings(settings):
        yield finding
    async for finding in nats.findings(settings):
        yield finding
    async for finding in provider.findings(settings, environ):
        yield finding

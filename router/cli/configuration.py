"""The configuration as commands take it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from router.cli.errors import CommandError
from router.settings import ConfigError, Settings, load


def load_settings(config: Path | None, nats: str | None = None) -> tuple[Settings, Mapping[str, str]]:
    """The settings, with `--nats` over them, and the environment. Raises `CommandError` that names what is wrong."""
    try:
        settings, environ = load(config)
    except ConfigError as exc:
        raise CommandError(str(exc)) from None
    if nats is None:
        return settings, environ
    return settings.model_copy(update={"nats": settings.nats.model_copy(update={"url": nats})}), environ

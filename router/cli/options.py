"""Options that several commands share, written the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.settings import Settings

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file (default: $POINTSMAN_CONFIG, else pointsman.toml)."),
]
Nats = Annotated[str | None, typer.Option("--nats", metavar="URL", help="NATS server, in place of the configured one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, as on the wire.")]
ShowRecipients = Annotated[bool, typer.Option("--show-recipients", help="Show recipients in full.")]


def load_settings(config: Path | None, nats: str | None = None) -> tuple[Settings, Mapping[str, str]]:
    """The settings, with `--nats` over them, and the environment. Raises `CommandError` that names what is wrong."""
    from router.settings import ConfigError, load

    try:
        settings, environ = load(config)
    except ConfigError as exc:
        raise CommandError(str(exc)) from None
    if nats is None:
        return settings, environ
    return settings.model_copy(update={"nats": settings.nats.model_copy(update={"url": nats})}), environ

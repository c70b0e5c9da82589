"""The options that describe one notification, for every command that takes one."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from channels.model import Category, Lane, OnUnknown
from router.cli.fields import nested
from router.cli.options import matching
from router.subjects import SOURCE


@dataclass(frozen=True)
class NotificationOptions:
    """One option for each field of a notification, and where it is published."""

    source: Annotated[str, typer.Option(callback=matching(SOURCE), help="The publishing service.")] = "cli"
    lane: Annotated[Lane, typer.Option(help="How urgent it is.")] = Lane.NORMAL
    id: Annotated[str | None, typer.Option("--id", help="Idempotency key; made up and printed when absent.")] = None
    to: Annotated[str | None, typer.Option(help="E.164, a national number with --region, or whatsapp:<user id>.")] = (
        None
    )
    text: Annotated[str | None, typer.Option(help="Free-form text.")] = None
    media: Annotated[list[str] | None, typer.Option(help="https URL of a medium; give it again for more.")] = None
    template: Annotated[str | None, typer.Option(help="Configured name of a template.")] = None
    content_sid: Annotated[str | None, typer.Option(help="Twilio's content SID of a template.")] = None
    language: Annotated[str | None, typer.Option(help="Language of the template, with --template.")] = None
    var: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A variable of the template.")] = None
    region: Annotated[str | None, typer.Option(help="Country that a national number is read in.")] = None
    category: Annotated[Category | None, typer.Option(help="What it is for; transactional when absent.")] = None
    channel: Annotated[str | None, typer.Option(help="This channel or none at all.")] = None
    send_at: Annotated[str | None, typer.Option(help="Not before; RFC 3339 with offset.")] = None
    expires_at: Annotated[str | None, typer.Option(help="Not after; RFC 3339 with offset.")] = None
    timezone: Annotated[str | None, typer.Option(help="The recipient's IANA time zone.")] = None
    metadata: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Comes back on every event.")] = None
    on_unknown: Annotated[
        OnUnknown | None, typer.Option(help="What to do when nobody can say whether it was sent.")
    ] = None

    def document(self) -> dict[str, Any]:
        """The notification as it is published. A usage error when --to is missing."""
        if self.to is None:
            raise typer.BadParameter("say whom it goes to, or give a file", param_hint="--to")
        given = {
            "id": self.id or uuid.uuid4().hex,
            "to": self.to,
            "region": self.region,
            "content.text": self.text,
            "content.media": self.media,
            "content.template.name": self.template,
            "content.template.language": self.language,
            "content.template.content_sid": self.content_sid,
            "category": self.category,
            "channel": self.channel,
            "send_at": self.send_at,
            "expires_at": self.expires_at,
            "timezone": self.timezone,
            "on_unknown": self.on_unknown,
            **_pairs("content.template.variables", "--var", self.var),
            **_pairs("metadata", "--metadata", self.metadata),
        }
        # Content is always there, so that its absence is reported as what is missing in it.
        return {"content": {}, **nested((name, value) for name, value in given.items() if value)}


def _pairs(field: str, option: str, given: list[str] | None) -> dict[str, str]:
    pairs = {}
    for pair in given or []:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise typer.BadParameter("write NAME=VALUE", param_hint=option)
        pairs[f"{field}.{name}"] = value
    return pairs


def takes_notification(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `NotificationOptions` in place of its parameter `given`.

    Typer reads options from a signature, so that is where the fields go: each is described once, above.
    """
    hints = get_type_hints(NotificationOptions, include_extras=True)
    named = [field.name for field in fields(NotificationOptions)]
    options = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(NotificationOptions)
    ]
    signature = inspect.signature(command, eval_str=True)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name != "given"
    ]

    @wraps(command)
    def with_options(**values: Any) -> None:
        given = NotificationOptions(**{name: values.pop(name) for name in named})
        command(given=given, **values)

    with_options.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return with_options

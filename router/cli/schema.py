"""`pointsman schema`: the contract for machines."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from router.cli.errors import CommandError


class Document(StrEnum):
    """What can be asked for."""

    NOTIFICATION = "notification"
    DELIVERY = "delivery"
    INBOUND = "inbound"
    DEADLETTER = "deadletter"
    ASYNCAPI = "asyncapi"
    ALL = "all"


def schema(
    name: Annotated[Document, typer.Argument(help="A schema, the AsyncAPI document, or all of them.")] = Document.ALL,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write files there, in place of printing.")] = None,
) -> None:
    """Print JSON Schemas and the AsyncAPI document."""
    from router import schemas
    from router.cli import output

    names = schemas.NAMES if name is Document.ALL else (name.value,)
    documents = {each: schemas.document(each) for each in names}
    if out is not None:
        _write(out, documents)
    elif name is Document.ALL:
        output.print_json(documents)
    else:
        output.print_json(documents[name])


def _write(directory: Path, documents: dict[str, Any]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, document in documents.items():
            file = directory / (f"{name}.json" if name == Document.ASYNCAPI else f"{name}.schema.json")
            file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            typer.echo(str(file))
    except OSError as exc:
        raise CommandError(f"{exc.filename or directory}: cannot be written: {exc.strerror}") from None

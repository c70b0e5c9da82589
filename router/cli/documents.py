"""`pointsman schema`: the contract for machines, printed or written to files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from router import schemas
from router.cli.errors import CommandError
from router.cli.output import print_json


def show(name: str | None, directory: Path | None) -> None:
    """One document, or with no name all of them under their names. Raises `CommandError` where it cannot write."""
    documents = {each: schemas.document(each) for each in ([name] if name else schemas.NAMES)}
    if directory is not None:
        _write(directory, documents)
    else:
        print_json(documents[name] if name else documents)


def _write(directory: Path, documents: Mapping[str, Any]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, document in documents.items():
            file = directory / (
                f"{name}.json" if name in {schemas.ASYNCAPI, schemas.OPENAPI} else f"{name}.schema.json"
            )
            file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            typer.echo(str(file))
    except OSError as exc:
        raise CommandError(f"{exc.filename or directory}: cannot be written: {exc.strerror}") from None

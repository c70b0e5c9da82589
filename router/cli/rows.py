"""Files of notifications: CSV with dotted column names, or JSON Lines. Read line by line, however long they are."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from router.cli.errors import CommandError
from router.cli.fields import COLUMNS, FREE, from_cells, is_column
from router.wire import InvalidNotificationError, Notification, parse_notification

_BOM = "\ufeff"  # what spreadsheets put before UTF-8
_TOO_MANY = "cells beyond the last column"


@dataclass(frozen=True, slots=True)
class Row:
    """One notification of a file."""

    line: int  #: where it begins, from 1
    body: bytes  #: as it is published
    notification: Notification | None  #: None: it breaks the contract
    problem: str = ""  #: which field, and what to do


class NotificationFile(AbstractContextManager["NotificationFile"]):
    """An open file that knows how much of it has been read. Raises `CommandError` for a file that cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = _READERS.get(path.suffix.lower())
        if self._read is None:
            raise CommandError(f"{path}: give a file that ends in {' or '.join(_READERS)}")
        try:
            self._file: BinaryIO = path.open("rb")
            self.size = path.stat().st_size  #: bytes
        except OSError as exc:
            raise CommandError(f"{path}: cannot be read: {exc.strerror}") from None
        self.position = 0  #: bytes read so far

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def rows(self) -> Iterator[Row]:
        """Every row, good or bad. Raises `CommandError` where nothing behind a line can be understood."""
        assert self._read is not None
        return self._read(self._path, self._lines())

    def _lines(self) -> Iterator[str]:
        for number, raw in enumerate(self._file, 1):
            self.position += len(raw)
            try:
                line = raw.decode()
            except UnicodeDecodeError:
                raise CommandError(f"{self._path}:{number}: not UTF-8") from None
            yield line.removeprefix(_BOM) if number == 1 else line


def checked_row(line: int, body: bytes) -> Row:
    """A row that is known to be good or bad."""
    try:
        notification = parse_notification(body)
        notification.recipient()
    except InvalidNotificationError as exc:
        return Row(line, body, None, exc.message)
    return Row(line, body, notification)


def _json_lines(_path: Path, lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            yield checked_row(number, text.encode())


def _csv(path: Path, lines: Iterator[str]) -> Iterator[Row]:
    reader, began = csv.DictReader(lines, restkey=_TOO_MANY, strict=True), 1
    try:
        _check_header(path, reader.fieldnames or [])
        began = reader.line_num + 1
        for cells in reader:
            yield _csv_row(began, cells)
            began = reader.line_num + 1
    except csv.Error as exc:
        raise CommandError(f"{path}:{began}: not CSV: {exc}") from None


def _csv_row(line: int, cells: Mapping[str, str | None]) -> Row:
    if _TOO_MANY in cells:
        return Row(line, b"", None, f"{_TOO_MANY}: is a comma in a text that is not in quotes?")
    document = {"content": {}, **from_cells({name: cell for name, cell in cells.items() if cell is not None})}
    return checked_row(line, json.dumps(document, ensure_ascii=False).encode())


def _check_header(path: Path, names: object) -> None:
    assert isinstance(names, list | tuple)
    if unknown := [name for name in names if not is_column(name)]:
        known = ", ".join((*COLUMNS, *(f"{prefix}.<name>" for prefix in FREE)))
        raise CommandError(f"{path}:1: no notification has a field {unknown[0]!r}; the columns are {known}")
    if len(set(names)) < len(names):
        raise CommandError(f"{path}:1: a column stands there twice")


_READERS: Mapping[str, Callable[[Path, Iterator[str]], Iterator[Row]]] = {".csv": _csv, ".jsonl": _json_lines}

"""Streaming of rows from files: a JSON array, JSON Lines or CSV, in memory independent of the file's size.

JSON is parsed with the standard library, one array element at a time: streaming parsers in C crash on a number of
5,000 digits, and replace half a surrogate pair by a question mark.
"""

import codecs
import csv
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, NoReturn

from shop_api.features.products.transfer.identity import Variant

Format = Literal["json", "jsonl", "csv"]
FORMATS: dict[str, Format] = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}

_LONGEST_LINE = 1 << 20
_LONGEST_ELEMENT = 1 << 24
_CHUNK = 1 << 18
_SPACE = re.compile(r"[ \t\r\n]*")
_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?[\r\n]*', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"?')


class UnreadableFile(Exception):
    """The file as a whole is not of the expected format. The message gives the reason."""


class Row(NamedTuple):
    """A row as read from the file."""

    number: int
    """The number of its first line, or of its element in a JSON array, from 1."""
    values: dict[str, Any]
    problem: str | None = None
    """Why the row could not be read. `values` is then empty."""
    variant: Variant | None = None
    """What identifies the product, if the file is of another system."""
    warnings: Sequence[tuple[str, str]] = ()
    """What was left out of the row: kinds with details, as in `changes.Omission`."""


@dataclass(frozen=True)
class RowFile:
    """An open file of rows."""

    rows: Iterator[Row]
    format: Format
    columns: list[str] | None
    """Column names of a CSV file, None for JSON. CSV values are all text; an empty cell is an absent value."""
    size: int
    _file: BinaryIO

    @property
    def unit(self) -> str:
        """The unit that `Row.number` counts."""
        return "record" if self.format == "json" else "line"

    def position(self) -> int:
        """Return the number of bytes read, 0 if the file is not seekable."""
        return self._file.tell() if self._file.seekable() else 0


def format_of(path: Path, text: Format | None = None) -> Format:
    """Return `text`, or else the format for the suffix of `path`. Raises UnreadableFile if the suffix is unknown."""
    if found := text or FORMATS.get(path.suffix.lower()):
        return found
    raise UnreadableFile(f"{path} is in no known format: name it {', '.join(FORMATS)}, or give --format")


@contextmanager
def open_rows(path: Path, form: Format) -> Iterator[RowFile]:
    """Open a file for lazy reading of its rows. Raises UnreadableFile if the file is not of this format."""
    with path.open("rb") as file:
        begin = file.peek(4)[:4]
        if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UnreadableFile(f"{path} is in UTF-16: save it as UTF-8")
        if begin.startswith(codecs.BOM_UTF8):
            file.read(3)
        size = path.stat().st_size
        match form:
            case "json":
                yield RowFile(_array_rows(_Elements(file, path)), form, None, size, file)
            case "jsonl":
                yield RowFile(_jsonl_rows(file), form, None, size, file)
            case "csv":
                lines = _CsvLines(file)
                columns, delimiter = _header(lines, path)
                yield RowFile(_csv_rows(lines, columns, delimiter), form, columns, size, file)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


def _json_row(number: int, value: object) -> Row:
    return Row(number, value) if isinstance(value, dict) else Row(number, {}, "is not a JSON object")


class _Elements:
    """Iterates over the elements of a JSON array in a file, decoding them one by one from a buffer."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._at = 0
        if self._symbol() != "[":
            raise UnreadableFile(f"{path} holds no JSON array: it has to begin with [ (JSON Lines: --format jsonl)")
        self._at += 1

    def __iter__(self) -> Iterator[Any]:
        """Yield the elements. Raises ValueError for invalid JSON, RecursionError if it is nested too deeply."""
        if self._symbol() != "]":
            yield self._element()
            while self._symbol() == ",":
                self._at += 1
                self._symbol()
                yield self._element()
            if self._symbol() != "]":
                raise ValueError(f"a comma or ] is missing after it, not {self._symbol() or 'the end of the file'}")
        self._at += 1
        if self._symbol():
            raise ValueError("there is more after the end of the array")

    def _element(self) -> Any:
        while True:
            try:
                value, end = _JSON.raw_decode(self._text, self._at)
            except ValueError:  # invalid, or truncated at the end of the buffer
                if len(self._text) - self._at > _LONGEST_ELEMENT or not self._read():
                    raise
            else:
                self._at = end
                return value

    def _symbol(self) -> str:
        """Return the next non-space character without consuming it, or an empty string at the end of the file."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # matches always
            if self._at < len(self._text) or not self._read():
                return self._text[self._at : self._at + 1]

    def _read(self) -> bool:
        """Double the buffered text, so that the repeated decoding of a long element takes linear time overall.

        Return False at the end of the file.
        """
        waiting = self._text[self._at :]
        raw = self._file.read(max(_CHUNK, len(waiting)))
        self._text, self._at = waiting + self._decode(raw, final=not raw), 0
        return bool(raw)


def _array_rows(elements: _Elements) -> Iterator[Row]:
    number = 0
    try:
        for number, value in enumerate(elements, 1):
            yield _json_row(number, value)
    except (ValueError, RecursionError) as error:
        yield Row(number + 1, {}, f"cannot be read, nor can what follows: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return "too many levels" if isinstance(error, RecursionError) else str(error)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield numbered lines, with None in place of a line longer than 1 MiB."""
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        whole = len(line) < _LONGEST_LINE
        while len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            line = file.readline(_LONGEST_LINE)
        yield number, line if whole else None


def _jsonl_rows(file: BinaryIO) -> Iterator[Row]:
    for number, line in _lines(file):
        if line is None:
            yield Row(number, {}, "longer than 1 MiB")
        elif not line.isspace():
            try:
                row = _json_row(number, _JSON.decode(line.decode()))
            except (ValueError, RecursionError) as error:
                row = Row(number, {}, _reason(error))
            yield row


class _CsvLines:
    """Lines for csv.reader, which may take several for one row.

    The lines of an invalid row, except the first, can be pushed back: otherwise a stray quotation mark would swallow
    the rows that follow.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._lines = _lines(file)
        self._waiting: deque[tuple[int, bytes | None]] = deque()
        self.taken: list[tuple[int, bytes | None]] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        numbered = self._waiting.popleft() if self._waiting else next(self._lines)
        self.taken.append(numbered)
        try:
            if numbered[1] is None:
                raise csv.Error("longer than 1 MiB")
            return numbered[1].decode()
        except UnicodeDecodeError:
            raise csv.Error("not UTF-8") from None

    def give_back_all_but_first(self) -> None:
        self._waiting.extendleft(reversed(self.taken[1:]))


def _header(lines: _CsvLines, path: Path) -> tuple[list[str], str]:
    """Return the names of the columns and the delimiter. Skips blank lines and Excel's `sep=;` before them."""
    delimiter, columns = None, list[str]()
    try:
        while not any(columns):
            if not (line := next(lines, "")):
                raise UnreadableFile(f"{path} has no first line that names the columns")
            if chosen := _SEPARATOR.fullmatch(line):
                delimiter = chosen[1]
                continue
            by = delimiter or max(",;\t", key=_QUOTED.sub("", line).count)
            columns = [name.strip() for name in next(csv.reader([line], delimiter=by, strict=True), [])]
    except csv.Error as error:
        raise UnreadableFile(f"the first line of {path} does not name columns: {error}") from None
    if twice := {name for name in columns if name and columns.count(name) > 1}:
        raise UnreadableFile(f"{path} has more than one column {', '.join(sorted(twice))}")
    return columns, by


def _csv_rows(lines: _CsvLines, columns: list[str], delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_LINE)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.taken.clear()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            lines.give_back_all_but_first()
            yield Row(lines.taken[0][0], {}, f"not CSV: {error}")
            continue
        if cells is None:
            return
        if any(cells):  # skips blank lines, which spreadsheets write as ,,,
            yield _csv_row(lines.taken[0][0], columns, cells)


def _csv_row(number: int, columns: list[str], cells: list[str]) -> Row:
    while len(cells) > len(columns) and not cells[-1]:  # spreadsheets pad lines
        cells.pop()
    if len(cells) != len(columns):
        return Row(number, {}, f"not CSV: it has {len(cells)} cells, the first line {len(columns)}")
    return Row(number, {name: cell for name, cell in zip(columns, cells, strict=True) if name})

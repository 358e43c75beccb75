"""Rows of CSV files as spreadsheets write them."""

import csv
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from shop_api.features.products.transfer.row import MAX_LINE, Row, UnreadableFile, lines_of

_MAX_HEADER_LINES = 100
_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?[\r\n]*', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"?')


class CsvLines:
    """Lines for csv.reader, which may take several for one row.

    The lines of an invalid row, except the first, can be pushed back: otherwise a stray quotation mark would swallow
    the rows that follow.
    """

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._lines = lines_of(file)
        self._encoding = encoding
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
            raise csv.Error(f"not {self._encoding}") from None

    def give_back_all_but_first(self) -> None:
        self._waiting.extendleft(reversed(self.taken[1:]))


def read_header(lines: CsvLines, path: Path) -> tuple[list[str], str]:
    """Return the names of the columns and the delimiter. Skips blank lines and Excel's `sep=;` before them.

    A name can have line breaks if it is quoted. Each run of white space in a name becomes one space.
    """
    delimiter, columns = None, list[str]()
    try:
        while not any(columns):
            if not (text := _quoted_lines(lines)):
                raise UnreadableFile(f"{path} has no first line that names the columns")
            if chosen := _SEPARATOR.fullmatch(text):
                delimiter = chosen[1]
                continue
            by = delimiter or max(",;\t", key=_QUOTED.sub("", text).count)
            cells = next(csv.reader(text.splitlines(keepends=True), delimiter=by, strict=True), [])
            columns = [" ".join(name.split()) for name in cells]
    except csv.Error as error:
        raise UnreadableFile(f"the first line of {path} does not name columns: {error}") from None
    if twice := {name for name in columns if name and columns.count(name) > 1}:
        raise UnreadableFile(f"{path} has more than one column {', '.join(sorted(twice))}")
    return columns, by


def _quoted_lines(lines: CsvLines) -> str:
    """Return the next line, with those that follow while a quotation mark is open."""
    text = next(lines, "")
    for _ in range(_MAX_HEADER_LINES):
        if text.count('"') % 2 == 0:
            return text
        text += next(lines, "")
    raise csv.Error("a quotation mark is never closed")


def csv_rows(lines: CsvLines, columns: list[str], delimiter: str) -> Iterator[Row]:
    """Yield the rows after the header. All values are text, and a blank cell is an empty one."""
    csv.field_size_limit(MAX_LINE)
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

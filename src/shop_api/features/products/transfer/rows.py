"""Streaming of rows from files: a JSON array, JSON Lines or CSV, in memory independent of the file's size."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from shop_api.features.products.transfer.csv_rows import CsvLines, csv_rows, read_header
from shop_api.features.products.transfer.encodings import as_utf8
from shop_api.features.products.transfer.json_rows import Elements, array_rows, jsonl_rows
from shop_api.features.products.transfer.row import Row, UnreadableFile

Format = Literal["json", "jsonl", "csv"]
FORMATS: dict[str, Format] = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}


@dataclass(frozen=True)
class RowFile:
    """An open file of rows."""

    rows: Iterator[Row]
    format: Format
    columns: list[str] | None
    """Column names of a CSV file, None for JSON. CSV values are all text; a blank cell is an empty one."""
    encoding: str
    """`UTF-8`, `UTF-16` or `Windows-1252`."""
    size: int
    """In bytes."""
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
        text, encoding = as_utf8(file, may_be_windows=form == "csv")
        columns: list[str] | None = None
        match form:
            case "json":
                rows = array_rows(Elements(text, path), encoding)
            case "jsonl":
                rows = jsonl_rows(text, encoding)
            case "csv":
                lines = CsvLines(text, encoding)
                columns, delimiter = read_header(lines, path)
                rows = csv_rows(lines, columns, delimiter)
        yield RowFile(rows, form, columns, encoding, path.stat().st_size, file)

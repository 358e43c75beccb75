"""A row of a file, and the lines of a file."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from shop_api.features.products.transfer.identity import Variant

MAX_LINE = 1 << 20


class UnreadableFile(Exception):
    """The file as a whole is not of the expected format. The message gives the reason."""


class Omission(NamedTuple):
    """Something that was left out of a row."""

    kind: str
    """One of a few sentences, by which warnings are counted."""
    detail: str = ""
    """What exactly, and why."""


class Row(NamedTuple):
    """A row as read from the file."""

    number: int
    """The number of its first line, or of its element in a JSON array, from 1."""
    values: dict[str, Any]
    problem: str | None = None
    """Why the row could not be read. `values` is then empty."""
    variant: Variant | None = None
    """What identifies the product, if the file is of another system."""
    omissions: Sequence[Omission] = ()
    """What a preset has left out of the row."""


def lines_of(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield numbered lines, with None in place of a line longer than 1 MiB."""
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        whole = len(line) < MAX_LINE
        while len(line) == MAX_LINE and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
        yield number, line if whole else None

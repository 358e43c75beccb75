"""The file of a backup: JSON Lines under gzip, which `zcat` shows.

The first line says what it is, the last one how many documents there are and what all lines before it hash to, and
each one in between is a collection's name and one of its documents. Without its last line a file is no backup.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from shop_api.kernel.files import replacing

FORM = 1
_MAGIC = "shop_api backup"


class BadArchive(Exception):
    """The file is no backup, not all of one, or damaged; the message says which."""


class Contents(NamedTuple):
    about: dict[str, Any]
    """As given to `written`."""
    documents: int


class Writer:
    def __init__(self, out: gzip.GzipFile) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.documents = 0

    def add(self, collection: str, document: str) -> None:
        """`document` is JSON, in one line."""
        self._line(f"[{json.dumps(collection)},{document}]")
        self.documents += 1

    def _line(self, text: str) -> None:
        data = text.encode() + b"\n"
        self._hash.update(data)
        self._out.write(data)

    def _begin(self, about: dict[str, Any]) -> None:
        self._line(json.dumps({"what": _MAGIC, "form": FORM, **about}))

    def _end(self) -> None:
        self._line(json.dumps({"documents": self.documents, "sha256": self._hash.hexdigest()}))


@contextmanager
def written(path: Path, about: dict[str, Any]) -> Iterator[Writer]:
    """Writes `path`. It appears, or takes the place of an earlier one, only when all of it is on the disk, and is for
    its owner only."""
    with replacing(path) as file, gzip.GzipFile("", "wb", 6, file) as out:
        writer = Writer(out)
        writer._begin(about)
        yield writer
        writer._end()


def examined(path: Path) -> Contents:
    """What is in the file, all of which is read; BadArchive unless it is a whole backup."""
    about = None
    for line in _lines(path):
        if about is None:
            about = _first(path, line)
        end = line
    if about is None:
        raise BadArchive(f"{path} is empty")
    return Contents(about, json.loads(end)["documents"])


def documents(path: Path) -> Iterator[bytes]:
    """Of each document the JSON of a list: its collection's name, and itself. BadArchive at the end, or earlier, if
    this is no whole backup."""
    for number, line in enumerate(_lines(path)):
        if number and line.startswith(b"["):
            yield line


def _first(path: Path, line: bytes) -> dict[str, Any]:
    try:
        about = json.loads(line)
        what, form = about.pop("what"), about.pop("form")
    except (ValueError, KeyError, TypeError, AttributeError):
        what, form = None, 0
    if what != _MAGIC:
        raise BadArchive(f"{path} is no backup of shop_api")
    if form != FORM:
        raise BadArchive(
            f"{path} has form {form}, made by shop_api {about.get('version')}; this one reads form {FORM}"
        )
    return dict(about)


def _lines(path: Path) -> Iterator[bytes]:
    """All lines, checked against the last one."""
    digest, count, last = hashlib.sha256(), 0, b""
    try:
        with gzip.open(path) as lines:
            for line in lines:
                if last:
                    digest.update(last)
                    count += last.startswith(b"[")
                last = line
                yield line
    except EOFError:
        raise BadArchive(f"{path} is not all of a backup: it ends too early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BadArchive(f"{path} is damaged, or no backup: {error}") from None
    try:
        said = json.loads(last)
        whole = said["documents"] == count and said["sha256"] == digest.hexdigest()
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise BadArchive(f"{path} is damaged, or not all of a backup")

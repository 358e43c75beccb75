"""The file format of a backup: gzipped JSON Lines, readable with `zcat`.

The first line describes the backup. The last one has the number of documents and the SHA-256 of all lines before it;
without it the file is incomplete. Each line between is an array of collection name and document.
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
    """The file is not a backup, incomplete or damaged; the message says which."""


class Contents(NamedTuple):
    about: dict[str, Any]
    """As passed to `written`."""
    documents: int


class Writer:
    def __init__(self, out: gzip.GzipFile) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.documents = 0

    def add(self, collection: str, document: str) -> None:
        """Write a document, given as one line of JSON."""
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
    """Write a backup to `path` atomically, readable only by its owner."""
    with replacing(path) as file, gzip.GzipFile("", "wb", 6, file) as out:
        writer = Writer(out)
        writer._begin(about)
        yield writer
        writer._end()


def examined(path: Path) -> Contents:
    """Read the whole file and return a summary. Raise BadArchive unless it is a complete backup."""
    about = None
    for line in _lines(path):
        if about is None:
            about = _first(path, line)
        end = line
    if about is None:
        raise BadArchive(f"{path} is empty")
    return Contents(about, json.loads(end)["documents"])


def documents(path: Path) -> Iterator[bytes]:
    """Yield for each document a JSON array of collection name and document. Raise BadArchive, at the latest at the
    end, if the backup is incomplete or damaged."""
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
    """Yield all lines, and verify them against the last one."""
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
        trailer = json.loads(last)
        whole = trailer["documents"] == count and trailer["sha256"] == digest.hexdigest()
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise BadArchive(f"{path} is damaged, or not all of a backup")

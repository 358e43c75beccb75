"""The file format of a backup: gzipped JSON Lines, readable with `zcat`.

The first line describes the backup. The last one, the trailer, has the number of documents, the SHA-256 of all lines
before it and, with a key, their HMAC-SHA-256 (RFC 2104); without it the file is incomplete. Each line between is an
array of collection name and document.

An archive may come from anyone. The checksum finds damage, but anyone can compute it again: only the HMAC shows that
an archive is as a holder of the key wrote it. Reading one takes bounded memory whatever is in it.
"""

import gzip
import hashlib
import hmac
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from shop_api.kernel.files import replacing

FORM = 1
_MAGIC = "shop_api backup"
MAX_LINE_BYTES = 64 << 20
"""The longest line that is written or read. A document in MongoDB has at most 16 MiB. As JSON, text takes up to three
times its bytes in UTF-8 (`\\u00e9`); only control characters and tiny values in tiny fields take more than four
times."""
MAX_LINE_VALUES = 4 << 20
"""The most `{`, `[` and `,` in a line, since a parsed value takes up to 25 times its JSON. 16 MiB of numbers in lists
have three million; only millions of commas in a text, or of values without content, are more."""
_MAX_DESCRIPTION_BYTES = 64 << 10
"""The longest first and last line; they have some hundred bytes."""


class BadArchive(Exception):
    """The file is not a backup, incomplete or damaged; the message says which."""


class Unauthenticated(BadArchive):
    """The archive is complete, but was not made with the key, or was changed since."""


class DocumentTooLong(Exception):
    """A document takes more as JSON than is read from a line. The message names its collection."""


class Contents(NamedTuple):
    about: dict[str, Any]
    """As passed to `written`. `version` and `taken_at` are printable text."""
    documents: int


class _Digests:
    """The SHA-256 of lines and, with a key, their HMAC-SHA-256."""

    def __init__(self, key: bytes | None) -> None:
        self._hash = hashlib.sha256()
        self._hmac = hmac.new(key, digestmod="sha256") if key is not None else None

    def update(self, line: bytes) -> None:
        self._hash.update(line)
        if self._hmac:
            self._hmac.update(line)

    def fields(self) -> dict[str, str]:
        """Return them in hexadecimal, as the trailer has them."""
        digests = {"sha256": self._hash.hexdigest()}
        return digests | {"hmac": self._hmac.hexdigest()} if self._hmac else digests


class Writer:
    def __init__(self, out: gzip.GzipFile, key: bytes | None) -> None:
        self._out = out
        self._digests = _Digests(key)
        self.documents = 0

    def add(self, collection: str, document: str) -> None:
        """Write a document, given as one line of JSON. Raise DocumentTooLong if it could not be read again."""
        line = _encoded(f"[{json.dumps(collection)},{document}]")
        if excess := _excess(line, MAX_LINE_BYTES):
            raise DocumentTooLong(f"a document of {collection} is a line {excess}")
        self._write(line)
        self.documents += 1

    def _write(self, line: bytes) -> None:
        self._digests.update(line)
        self._out.write(line)

    def _begin(self, about: dict[str, Any]) -> None:
        self._write(_encoded(json.dumps({"what": _MAGIC, "form": FORM, **about})))

    def _end(self) -> None:
        self._write(_encoded(json.dumps({"documents": self.documents, **self._digests.fields()})))


def _encoded(text: str) -> bytes:
    return text.encode() + b"\n"


def _excess(line: bytes, max_bytes: int) -> str | None:
    """Return in which way a line is too much to read, or None."""
    if len(line) > max_bytes:
        return f"longer than {max_bytes:,} bytes"
    if len(line) > MAX_LINE_VALUES and sum(map(line.count, (b"{", b"[", b","))) > MAX_LINE_VALUES:
        return f"with more than {MAX_LINE_VALUES:,} values"
    return None


@contextmanager
def written(path: Path, about: dict[str, Any], key: bytes | None) -> Iterator[Writer]:
    """Write a backup to `path` atomically, readable only by its owner. `about` has `version` and `taken_at`. Without
    `key` it is not authenticated."""
    with replacing(path) as file, gzip.GzipFile("", "wb", 6, file) as out:
        writer = Writer(out, key)
        writer._begin(about)
        yield writer
        writer._end()


def examined(path: Path, key: bytes | None) -> Contents:
    """Read the whole file and return a summary. Raise BadArchive unless it is a complete backup, and Unauthenticated
    unless it was made with `key`. Without `key`, only the checksum is verified."""
    lines = _lines(path, key)
    about = _first(path, next(lines))
    return Contents(about, sum(1 for _ in lines))


def documents(path: Path, key: bytes | None) -> Iterator[bytes]:
    """Yield for each document a JSON array of collection name and document. Raise BadArchive like `examined`, at the
    latest at the end."""
    lines = _lines(path, key)
    next(lines)
    yield from lines


def _first(path: Path, line: bytes) -> dict[str, Any]:
    about = _object(line)
    what, form = about.pop("what", None), about.pop("form", None)
    if what != _MAGIC or not all(_is_printable(about.get(name)) for name in ("version", "taken_at")):
        raise BadArchive(f"{path} is no backup of shop_api")
    if form != FORM:
        raise BadArchive(f"{path} has form {form!r}, made by shop_api {about['version']}; this one reads form {FORM}")
    return about


def _is_printable(value: object) -> bool:
    # Escape sequences would change what the operator's terminal shows.
    return isinstance(value, str) and value.isprintable()


def _object(line: bytes) -> dict[str, Any]:
    """Return a line as a JSON object, or an empty one if it is something else."""
    try:
        found = json.loads(line) if len(line) <= _MAX_DESCRIPTION_BYTES else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _lines(path: Path, key: bytes | None) -> Iterator[bytes]:
    """Yield the first line and those of documents, then verify them against the last one."""
    digests, count = _Digests(key), -1  # the first line is no document
    with _damage(path), gzip.open(path) as file:
        line = _line(path, file, _MAX_DESCRIPTION_BYTES)
        while count < 0 or line.startswith(b"["):
            digests.update(line)
            count += 1
            yield line
            line = _line(path, file, MAX_LINE_BYTES)
        rest = file.read(1)
    trailer, expected = _object(line), digests.fields()
    if rest or trailer.get("documents") != count or trailer.get("sha256") != expected["sha256"]:
        raise BadArchive(f"{path} is damaged, or not all of a backup")
    if "hmac" in expected:
        _authenticate(path, trailer.get("hmac"), expected["hmac"])


def _authenticate(path: Path, found: object, expected: str) -> None:
    if found is None:
        raise Unauthenticated(f"{path} is not authenticated: it was made without a SHOP_BACKUP_KEY, or changed since")
    # In constant time: how long a comparison takes would tell how much of a guess is right.
    if not hmac.compare_digest(str(found).encode(errors="replace"), expected.encode()):
        raise Unauthenticated(f"{path} was made with another SHOP_BACKUP_KEY, or changed since")


def _line(path: Path, file: gzip.GzipFile, limit: int) -> bytes:
    line = file.readline(limit + 1)
    if excess := _excess(line, limit):
        raise BadArchive(f"{path} has a line {excess}, which no backup has")
    return line


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Raise BadArchive where the compressed data ends too early or cannot be decompressed."""
    try:
        yield
    except EOFError:
        raise BadArchive(f"{path} is not all of a backup: it ends too early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BadArchive(f"{path} is damaged, or no backup: {error}") from None

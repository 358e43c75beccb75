"""Archives of `shop-api backup` as somebody may write them who has a file and an editor."""

import gzip
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ABOUT = {"version": "1", "database": "shop", "taken_at": "2030-01-01T00:00:00+00:00"}
FIRST = json.dumps({"what": "shop_api backup", "form": 1, **ABOUT}).encode() + b"\n"


def lines_of(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def write_lines(path: Path, lines: Iterable[bytes]) -> Path:
    path.write_bytes(gzip.compress(b"".join(lines), 1))
    return path


def write_sealed(path: Path, lines: Iterable[bytes], **more: Any) -> Path:
    """Write `lines` and a trailer with their count and checksum, which need no key, and what else it is to have."""
    lines = list(lines)
    trailer = {"documents": len(lines) - 1, "sha256": hashlib.sha256(b"".join(lines)).hexdigest(), **more}
    return write_lines(path, [*lines, json.dumps(trailer).encode() + b"\n"])


def document_line(collection: str, document: Any) -> bytes:
    return json.dumps([collection, document]).encode() + b"\n"

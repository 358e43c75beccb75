"""Atomic, durable file writes: after a crash of the process or the machine a file is complete or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_FOR_ITS_OWNER = 0o600


@contextmanager
def replacing(path: Path, *, mode: int = _FOR_ITS_OWNER, **options: Any) -> Iterator[IO[Any]]:
    """Open a file that replaces `path` atomically, binary unless `options` (those of `open`) name an encoding.

    Until the block ends, the content is in `<name>.part` in the same folder. It is flushed to disk (fsync) and then
    renamed; an error in the block leaves `path` as it was. The umask applies to `mode`.
    """
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)  # left by a killed process
    kind = "x" if "encoding" in options else "xb"
    try:
        with open(part, kind, opener=lambda name, flags: os.open(name, flags, mode), **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _keep_name(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """Write `content` atomically to a file that only its owner can read."""
    with replacing(path) as file:
        file.write(content)


def _keep_name(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files that are there as a whole or not at all, whenever the process or the machine stops."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_FOR_ITS_OWNER = 0o600


@contextmanager
def replacing(path: Path, *, mode: int = _FOR_ITS_OWNER, **options: Any) -> Iterator[IO[Any]]:
    """A file to write in place of `path`, in bytes unless `options` (those of `open`) name an encoding.

    It appears, or takes the place of an earlier one, only when the block has ended without an error and all of it is
    on the disk. Until then it is beside it, as `<name>.part`. The umask applies to `mode`.
    """
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)  # of a process that was killed
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
    """Writes all of `content` or nothing, readable only by its owner."""
    with replacing(path) as file:
        file.write(content)


def _keep_name(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

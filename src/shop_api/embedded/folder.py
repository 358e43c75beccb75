"""The data folder of the embedded engines: for its owner only."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from shop_api.embedded.errors import EngineError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
SECRET = "jwt-secret"  # noqa: S105  # the name of a file
# What the service and its engines put there, by the beginning of its name; and what a file system has of its own.
_OURS = ("engines.json", "first-admin-made", SECRET, "lock", "mongo", "redis", "lost+found")


def make_private(folder: Path, say: Callable[[str], None]) -> None:
    """Take the folder and its secret away from everybody but their owner, and say so if others could use them.

    Raises EngineError if that is not possible, or if the folder holds anything else: others may need that.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_open(folder):
        if strangers := sorted(name for name in os.listdir(folder) if not name.startswith(_OURS)):
            raise EngineError(
                f"others can read {folder}, and it holds {strangers[0]}, which is not of the embedded engines: set"
                " SHOP_DATA_DIR to a folder of its own"
            )
        _close(folder, 0o700, say)
    secret = folder / SECRET
    if secret.exists() and _is_open(secret):
        _close(secret, 0o600, say)


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & _OTHERS)


def _close(path: Path, mode: int, say: Callable[[str], None]) -> None:
    try:
        path.chmod(mode)
    except PermissionError:
        raise EngineError(
            f"others can read {path}, and it belongs to somebody else: set SHOP_DATA_DIR to a folder of your own"
        ) from None
    say(f"others could read {path}: from now on only its owner can")

"""secantusd-rs, a MongoDB-compatible server, as a child process."""

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from subprocess import Popen

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from shop_api.embedded.child import child
from shop_api.embedded.errors import EngineError

_START_TIMEOUT = 30.0
_BUSY_TIMEOUT = 5.0


@contextmanager
def running(
    folder: Path, check: Callable[[], None] = lambda: None, started: Callable[[Popen[bytes]], None] = lambda _: None
) -> Iterator[str]:
    """Run a server on `folder`/mongo, created if absent, and yield its URL. `check` is called while it starts, and
    `started` with its process once it has."""
    log, storage, unfinished = folder / "mongo.log", folder / "mongo", folder / "mongo.unfinished"
    command: list[str | Path] = [
        *(binary(), "--host", "127.0.0.1", "--port", "0", "--storage-path", storage),
        *("--cache-size", "1G", "--log-file-max", "32MB"),
        "--sync-on-commit",  # without it kill -9 loses acknowledged writes
    ]
    patient_until = time.monotonic() + _BUSY_TIMEOUT
    while True:
        # If killed while creating its files, the engine cannot reopen them. They hold no data yet, so start again.
        if unfinished.exists():
            shutil.rmtree(storage, ignore_errors=True)
        elif not storage.exists():
            unfinished.touch()
        with child(command, log) as process:
            if port := _port(process, log, check):
                url = f"mongodb://127.0.0.1:{port}/?directConnection=true"
                _end_sessions(url)
                unfinished.unlink(missing_ok=True)
                started(process)
                yield url
                return
        # The engine of an instance that was just killed may still be releasing its files.
        if b"busy" not in log.read_bytes() or time.monotonic() > patient_until:
            raise EngineError(f"the embedded MongoDB did not start; {log} says why")
        check()
        time.sleep(0.1)


def _port(process: Popen[bytes], log: Path, check: Callable[[], None]) -> str | None:
    """Return the port of the server; None if it exited or does not listen within _START_TIMEOUT."""
    deadline = time.monotonic() + _START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(rb"listening on 127\.0\.0\.1:(\d+)\s", log.read_bytes()):
            return found[1].decode()
        check()
        time.sleep(0.01)
    return None


def _end_sessions(url: str) -> None:
    # A transaction left open by a killed client would hold its locks forever.
    try:
        with MongoClient[dict[str, object]](url, timeoutMS=10_000) as client:
            client.admin.command("killAllSessions", [])
    except PyMongoError as error:
        raise EngineError(f"the embedded MongoDB does not answer: {error}") from error


def binary() -> Path:
    """Return the path of secantusd-rs. Raise EngineError if it is not installed."""
    try:
        path = Path(str(distribution("secantusdb").locate_file("secantusdb.scripts/secantusd-rs")))
    except PackageNotFoundError:
        path = Path()
    if not path.is_file():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise EngineError(
            f"the embedded MongoDB is not installed for Python {version}: install shop-api[embedded] on Python"
            " 3.11, 3.12 or 3.13, or set SHOP_MONGO_URL (for example: mongodb://localhost:27017/?replicaSet=rs0)"
        )
    return path

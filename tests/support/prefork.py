"""`shop-api` in processes that are forked from one that has its imports behind it.

They take a second of a core, and the suite starts the command some two hundred times.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

TESTS = Path(__file__).parents[1]


class Forked:
    """A running `shop-api`, with the part of subprocess.Popen that the tests use."""

    def __init__(
        self, words: list[str], env: Mapping[str, str], output: IO[bytes], errors: IO[bytes], cwd: Path | None = None
    ):
        order = json.dumps({"words": words, "env": dict(env), "cwd": str(cwd or Path.cwd())}).encode()
        self._fate, theirs = os.pipe()
        try:
            _parent().send(order, [output.fileno(), errors.fileno(), theirs])
        finally:
            os.close(theirs)
        self._said = b""
        self.returncode: int | None = None
        while b"\n" not in self._said:
            self._hear()
        self.pid = int(self._said.partition(b"\n")[0])

    def _hear(self) -> bool:
        """Read on. False once there is no more, which is when it has ended."""
        part = os.read(self._fate, 100)
        self._said += part
        return bool(part)

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([self._fate], [], [], left)[0]:
                assert timeout is not None
                raise subprocess.TimeoutExpired("shop-api", timeout)
            if not self._hear():
                os.close(self._fate)
                self.returncode = os.waitstatus_to_exitcode(int(self._said.split()[1]))
        return self.returncode

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended just now
            if self.poll() is None:
                os.kill(self.pid, signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    words: list[str], env: Mapping[str, str], *, cwd: Path | None = None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """What `shop-api` with these words does and says."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = Forked(words, env, output, errors, cwd)
        try:
            process.wait(timeout)
        finally:
            process.kill()
            process.wait()
        said = []
        for file in (output, errors):
            file.seek(0)
            said.append(file.read().decode())
    assert process.returncode is not None
    return subprocess.CompletedProcess(["shop-api", *words], process.returncode, *said)


class _Parent:
    """The process with the imports."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        self._turn = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.prefork", str(theirs.fileno())],
                cwd=TESTS,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def send(self, order: bytes, files: list[int]) -> None:
        with self._turn:
            socket.send_fds(self._channel, [len(order).to_bytes(4, "big")], files)
            self._channel.sendall(order)

    def end(self) -> None:
        self._channel.close()
        self._process.wait()


@functools.cache
def _parent() -> _Parent:
    parent = _Parent()
    atexit.register(parent.end)
    return parent


def _serve_orders(channel: socket.socket) -> None:
    """Return in each child, ready to be `shop-api`; end when there will be no more orders."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while True:
        size, files, _, _ = socket.recv_fds(channel, 4, 3)
        if not size:
            sys.exit()
        order = b""
        while len(order) < int.from_bytes(size, "big"):
            order += channel.recv(int.from_bytes(size, "big") - len(order))
        if os.fork() == 0:
            if _is_child(files[2]):
                _become(json.loads(order), *files[:2])
                return
            os._exit(0)
        for file in files:
            os.close(file)


def _is_child(fate: int) -> bool:
    """True in the child. Its parent tells `fate` the number of the child and, once that ends, how."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        return True
    os.closerange(0, fate)
    os.write(fate, b"%d\n" % child)
    os.write(fate, b"%d" % os.waitpid(child, 0)[1])
    return False


def _become(order: dict[str, object], output: int, errors: int) -> None:
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.closerange(3, 100)
    os.chdir(str(order["cwd"]))
    os.environ.clear()
    os.environ.update(order["env"])  # type: ignore[call-overload]
    sys.argv = ["shop-api", *order["words"]]  # type: ignore[misc]


if __name__ == "__main__":
    gc.disable()

    import shop_api.app
    import shop_api.cli.backup.archive
    import shop_api.cli.doctor
    import shop_api.http.protocol  # noqa: F401
    from shop_api.cli.entry import run as run_command

    _serve_orders(socket.socket(fileno=int(sys.argv[1])))
    run_command()

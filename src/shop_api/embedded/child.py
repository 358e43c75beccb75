"""Child processes that never outlive this one, however it ends."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shop_api.embedded import watchdog

_PR_SET_PDEATHSIG = 1


@contextmanager
def child(
    command: Sequence[str | Path], log: Path, *, watched: bool = sys.platform != "linux", patience: float = 10.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `command` with its output in `log` until the end of the block, then SIGTERM, and SIGKILL if it lingers.

    On Linux the kernel kills it with the thread that started it, elsewhere (`watched`) a watchdog with the process.
    """
    with log.open("wb") as output:
        process = _start([str(word) for word in command], output.fileno(), watched)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # its watchdog too, if it has one
            process.wait()
        if process.stdin:
            process.stdin.close()


def _start(command: list[str], output: int, watched: bool) -> subprocess.Popen[bytes]:
    # A session of its own, so that Ctrl-C in the terminal reaches the service first and not the engines under it.
    if not watched:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_die_with(os.getpid()),
        )
    guarded = [sys.executable, watchdog.__file__, *command]
    return subprocess.Popen(guarded, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True)


def _die_with(parent: int) -> Callable[[], None]:
    prctl = ctypes.CDLL(None).prctl  # looked up here: between fork and exec it would be too late

    def in_child() -> None:
        # SIGKILL, since an engine may sit out SIGTERM behind a lock; both engines are built for that.
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return in_child

"""Child processes that never outlive this process, even if it is killed."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shop_api.embedded import die_with_parent, watchdog


@contextmanager
def child(
    command: Sequence[str | Path], log: Path, *, watched: bool = sys.platform != "linux", patience: float = 10.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` during the block with its output in `log`; then SIGTERM, and SIGKILL after `patience` seconds.

    On Linux the kernel kills it when the starting thread ends; elsewhere (`watched`) a watchdog does when the process
    ends.
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
    guard = [watchdog.__file__] if watched else [die_with_parent.__file__, str(os.getpid())]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", *guard, *command],
        stdin=subprocess.PIPE if watched else subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        # So that Ctrl-C in the terminal reaches the service and not its engines.
        start_new_session=True,
    )

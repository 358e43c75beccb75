"""`python watchdog.py COMMAND …`: runs COMMAND, and kills it when the pipe on standard input closes.

For systems without Linux's PR_SET_PDEATHSIG: the parent holds the other end of the pipe, which closes when it dies.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main(command: list[str]) -> int:
    process: subprocess.Popen[bytes] | None = None
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        if process is not None:
            process.terminate()

    signal.signal(signal.SIGTERM, stop)  # before the child exists, so that it is never left behind
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    if stopping:
        process.terminate()
    threading.Thread(target=_kill_when_orphaned, args=(process,), daemon=True).start()
    return process.wait()


def _kill_when_orphaned(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

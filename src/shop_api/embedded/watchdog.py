"""`python watchdog.py COMMAND …`: runs COMMAND, and kills it when the pipe on standard input closes.

For systems without Linux's PR_SET_PDEATHSIG: the parent holds the other end of the pipe, which closes with it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main(command: list[str]) -> int:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def kill_when_orphaned() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        process.kill()

    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    threading.Thread(target=kill_when_orphaned, daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

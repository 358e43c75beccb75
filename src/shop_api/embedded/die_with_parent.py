"""`python die_with_parent.py PARENT COMMAND …`: becomes COMMAND, which Linux kills when the thread of PARENT that
started it ends.

A program of its own, since code between fork and exec (`preexec_fn`) runs the hooks of forking in the parent too,
where a signal's exception would be lost and a lock stay taken.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    # SIGKILL, since an engine may sit out SIGTERM behind a lock; both engines are built for that.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # else it has ended already
        os.execv(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
    sys.exit(1)

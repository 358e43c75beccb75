"""`python die_with_parent.py PARENT COMMAND …`: becomes COMMAND, which Linux kills when the thread of PARENT that
started it ends.

A separate program, since `preexec_fn` also runs the fork hooks in the parent, where an exception from a signal
handler would be lost and a lock would stay held.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    # SIGKILL, since an engine waiting for a lock may not react to SIGTERM; both engines survive it without data loss.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # otherwise the parent has already exited
        os.execv(command[0], command)  # noqa: S606  # runs no shell


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
    sys.exit(1)

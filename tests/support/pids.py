"""Which processes there are, without a package for it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def commands() -> dict[int, str]:
    """The working directories and command lines of all processes that run, by process id. One that has ended and
    only waits for its parent to notice does not run."""
    if sys.platform != "linux":
        lines = subprocess.run(["ps", "-axwwo", "pid=,stat=,command="], capture_output=True, text=True).stdout
        rows = [line.split(None, 2) for line in lines.splitlines()]
        return {int(pid): " ".join(command) for pid, state, *command in rows if not state.startswith("Z")}
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if state not in "ZX":
                found[int(folder.name)] = f"{os.readlink(folder / 'cwd')} {command}"
        except OSError:  # gone meanwhile
            continue
    return found


def engines_on(folder: Path) -> list[int]:
    """The process ids of the engines that run on `folder`."""
    data = (f"{folder}/mongo", f"{folder}/redis")
    return [pid for pid, command in commands().items() if any(path in command for path in data)]


def redis_on(folder: Path, name: str = "redis") -> list[int]:
    """The process ids of the Redis that runs on this folder in `folder`: one, or none."""
    return [pid for pid, command in commands().items() if f"{folder}/{name} " in command]


def mongo_on(folder: Path) -> list[int]:
    """The process ids of the MongoDBs that run on `folder`: one, or none."""
    return [pid for pid, command in commands().items() if f"{folder}/mongo" in command]


def alive(pid: int) -> bool:
    return pid in commands()


def stop(pid: int) -> None:
    """Makes a process hang, until it gets SIGCONT."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.1)  # until all its threads have noticed


def soon(condition: Callable[[], bool], within: float = 120.0) -> bool:
    """Whether `condition` becomes true before so many seconds show that it never will."""
    deadline = time.monotonic() + within
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()

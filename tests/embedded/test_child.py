"""Child processes never outlive their parent, with the kernel's help and with the portable watchdog's."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shop_api.embedded import watchdog
from shop_api.embedded.child import child
from support.patience import PATIENCE
from support.pids import alive, soon

# A child that says its process id and then waits, with an eye or none for SIGTERM.
OBEDIENT = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + OBEDIENT
WAYS = pytest.mark.parametrize(
    "watched",
    [
        pytest.param(False, marks=pytest.mark.skipif(sys.platform != "linux", reason="needs prctl"), id="kernel"),
        pytest.param(True, id="watchdog"),
    ],
)


def said_pid(log: Path) -> int:
    assert soon(lambda: log.exists() and log.read_bytes().endswith(b"\n"))
    return int(log.read_bytes())


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    log = tmp_path / "child.log"
    yield log
    if log.exists() and (text := log.read_text().strip()).isdecimal() and alive(int(text)):
        os.kill(int(text), signal.SIGKILL)


@WAYS
class TestChild:
    def test_runs_until_the_end_of_the_block(self, log, watched):
        with child([sys.executable, "-c", OBEDIENT], log, watched=watched):
            pid = said_pid(log)
            assert alive(pid)
        assert not alive(pid)

    def test_ends_when_the_block_fails(self, log, watched):
        def fail() -> None:
            with child([sys.executable, "-c", OBEDIENT], log, watched=watched):
                said_pid(log)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert not alive(said_pid(log))

    def test_one_that_ignores_sigterm_is_killed(self, log, watched):
        with child([sys.executable, "-c", STUBBORN], log, watched=watched, patience=0.3):
            pid = said_pid(log)
        assert soon(lambda: not alive(pid))

    def test_one_that_has_ended_by_itself_is_no_error(self, log, watched):
        with child([sys.executable, "-c", "print('done'); raise SystemExit(3)"], log, watched=watched) as process:
            assert process.wait(PATIENCE) == 3
        assert log.read_text() == "done\n"

    def test_goes_when_its_parent_is_killed(self, log, watched):
        parent = f"""if True:
            import pathlib, sys, time
            from shop_api.embedded.child import child
            with child([sys.executable, "-c", {STUBBORN!r}], pathlib.Path({str(log)!r}), watched={watched}):
                time.sleep(600)
        """
        with subprocess.Popen([sys.executable, "-c", parent]) as process:
            pid = said_pid(log)
            process.kill()
        assert soon(lambda: not alive(pid))

    def test_ctrl_c_in_the_terminal_does_not_reach_it(self, log, watched):
        with child([sys.executable, "-c", OBEDIENT], log, watched=watched):
            pid = said_pid(log)
            assert os.getpgid(pid) != os.getpgid(0)
            assert os.getsid(pid) != os.getsid(0)


class TestWatchdog:
    @pytest.fixture
    def watch(self, log: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
        started: list[subprocess.Popen[bytes]] = []

        def watch(code: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, watchdog.__file__, sys.executable, "-c", code]
            with log.open("wb") as output:
                started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output))
            return started[-1]

        yield watch
        for process in started:
            assert process.stdin is not None
            process.stdin.close()
            process.kill()
            process.wait()

    def test_kills_its_child_when_the_pipe_closes(self, watch, log):
        process = watch(STUBBORN)
        pid = said_pid(log)
        process.stdin.close()
        assert process.wait(PATIENCE) != 0
        assert not alive(pid)

    def test_passes_sigterm_on(self, watch, log):
        process = watch("import signal; signal.signal(signal.SIGTERM, lambda *_: exit(7)); " + OBEDIENT)
        pid = said_pid(log)
        process.terminate()
        assert process.wait(PATIENCE) == 7
        assert not alive(pid)

    def test_passes_sigterm_on_more_than_once(self, watch, log):
        counting = (
            "import signal; n = [7, 6, 5]; signal.signal(signal.SIGTERM, lambda *_: n.pop() == 7 and exit(7)); "
        )
        process = watch(counting + OBEDIENT.replace("time.sleep(600)", "[time.sleep(0.01) for _ in range(60000)]"))
        said_pid(log)
        for _ in range(3):
            assert process.poll() is None
            process.terminate()
            time.sleep(0.1)
        assert process.wait(PATIENCE) == 7

    @pytest.mark.parametrize("milliseconds", range(0, 100, 10))
    def test_sigterm_at_any_moment_of_its_start_leaves_no_child(self, watch, log, milliseconds):
        process = watch(OBEDIENT)
        time.sleep(milliseconds / 1000)
        process.terminate()
        process.wait(PATIENCE)
        if log.read_bytes():
            assert not alive(said_pid(log))

    def test_ends_with_its_child(self, watch):
        assert watch("raise SystemExit(3)").wait(PATIENCE) == 3

    def test_does_not_mind_what_comes_through_the_pipe(self, watch, log):
        process = watch(OBEDIENT)
        pid = said_pid(log)
        process.stdin.write(b"x" * 10_000)
        process.stdin.flush()
        time.sleep(0.1)
        assert alive(pid)

"""What children of tests inherit of a process that was started in the background."""

import json
import subprocess
import sys
from pathlib import Path

# As a shell starts `make test &` or nohup: what is ignored is inherited, also by the shell of another language.
IN_THE_BACKGROUND = f"""if True:
    import json, os, signal, subprocess, sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from support.signals import default_for_children
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    ask = "import signal; print([signal.getsignal(s) is signal.SIG_IGN for s in (signal.SIGINT, signal.SIGHUP)])"
    def of_a_child():
        return json.loads(subprocess.check_output([sys.executable, "-c", ask]).lower())
    told = [of_a_child()]
    with default_for_children():
        os.kill(os.getpid(), signal.SIGINT)  # is ignored as before
        told.append(of_a_child())
    told.append(of_a_child())
    print(json.dumps(told))
"""


def test_nothing_that_is_ignored_here_is_ignored_by_a_child():
    done = subprocess.run([sys.executable, "-c", IN_THE_BACKGROUND], capture_output=True, text=True)
    assert done.stderr == ""
    assert json.loads(done.stdout) == [[True, True], [False, False], [True, True]]


def test_every_test_starts_its_children_that_way():
    ask = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert subprocess.check_output([sys.executable, "-c", ask], text=True) == "True\n"

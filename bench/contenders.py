"""Those who are compared, each a process of its own on a free port of this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from load import Sample

from shop_api.embedded.child import child
from shop_api.settings import Settings

HERE = Path(__file__).parent
ADMIN, PASSWORD = "bench", "a long bench password"
_START_SECONDS = 60.0
_ADDRESS = re.compile(rb"(?:ready on|Listening at:|running on) (http://\S+)")
# The original's own choice, and gunicorn's default: one request at a time, on a connection of its own.
_SYNC = ("--workers", "1")
# The other, measured beside it where it may be faster.
GTHREAD = ("--workers", "1", "--worker-class", "gthread", "--threads", "4", "--keep-alive", "75")


class StartError(Exception):
    """A contender did not start; the message ends with what it said."""


@dataclass(frozen=True)
class Server:
    url: str
    process: subprocess.Popen[bytes]

    def resident_mib(self) -> float:
        """The resident memory of the process, and of its worker if it has one."""
        ps = [shutil.which("ps") or "ps", "-A", "-o", "pid=,ppid=,rss="]
        rows = [map(int, line.split()) for line in subprocess.check_output(ps, text=True).splitlines()]
        return sum(kib for pid, parent, kib in rows if self.process.pid in (pid, parent)) / 1024


class Contenders:
    """Starts them on the engines of `settings`. Their logs are in `folder`."""

    def __init__(self, settings: Settings, folder: Path, others: Path) -> None:
        self.settings = settings
        self._folder = folder
        self._others = others
        self._started = 0
        mongo_url, redis_url, secret = settings.required()
        self._service = {
            "SHOP_MONGO_URL": mongo_url,
            "SHOP_MONGO_DB": settings.mongo_db,
            "SHOP_REDIS_URL": redis_url,
            "SHOP_JWT_SECRET": secret.decode(),
            "SHOP_ADMIN_USERNAME": ADMIN,
            "SHOP_ADMIN_PASSWORD": PASSWORD,
        }
        self._other = {
            "BENCH_MONGO_URL": mongo_url,
            "BENCH_MONGO_DB": settings.mongo_db,
            "BENCH_REDIS_URL": redis_url,
            "BENCH_SECRET": secret.decode(),
        }

    @contextmanager
    def service(self, **variables: str) -> Iterator[Server]:
        """This service as it is run in production, but for the limits on sign-in."""
        with self.running([script("shop-api"), "serve"], {**self._service, **variables}) as server:
            yield server

    @contextmanager
    def filled_service(self) -> Iterator[Server]:
        """The same with its memory tier full."""
        with self.running([sys.executable, str(HERE / "full_memory.py")], self._service) as server:
            yield server

    @contextmanager
    def original(self, *options: str, cache: bool = True) -> Iterator[Server]:
        with self._gunicorn("original:app", options, BENCH_CACHE="on" if cache else "off") as server:
            yield server

    @contextmanager
    def eve(self, *options: str) -> Iterator[Server]:
        with self._gunicorn("eve_app:app", options) as server:
            yield server

    @contextmanager
    def bare(self, service: Server, answers: Mapping[str, tuple[str, Mapping[str, str]]]) -> Iterator[Server]:
        """Sends what `service` answers now: {target: (path, request headers)}. The second answer to each is taken, as
        the first one may have been made for it."""
        stored = {}
        for target, (path, headers) in answers.items():
            response = [httpx.get(service.url + path, headers=dict(headers)) for _ in range(2)][1]
            kept = [pair for pair in response.headers.multi_items() if pair[0] != "date"]  # uvicorn adds one
            stored[target] = {"status": response.status_code, "headers": kept, "body": response.text}
        path_of_answers = self._folder / f"answers-{self._started}.json"
        path_of_answers.write_text(json.dumps(stored))
        options = ("--no-access-log", "--no-server-header", "--timeout-keep-alive", "75", "--port", "0")
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), *options, "bare:app"]
        with self.running(command, {"BENCH_ANSWERS": str(path_of_answers)}) as server:
            yield server

    @contextmanager
    def _gunicorn(self, app: str, options: tuple[str, ...], **variables: str) -> Iterator[Server]:
        words = ("--chdir", str(HERE), "--bind", "127.0.0.1:0", "--log-level", "info", *(options or _SYNC))
        command = [str(self._others), "-m", "gunicorn", *words, app]
        with self.running(command, {**self._other, **variables}) as server:
            for _ in range(200):  # its master listens before its worker answers
                try:
                    httpx.get(f"{server.url}/products/none", timeout=30)
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            yield server

    @contextmanager
    def running(self, command: list[str], variables: Mapping[str, str]) -> Iterator[Server]:
        """A server, from the line with its address to the end of the block."""
        self._started += 1
        log = self._folder / f"{self._started:03}-{Path(command[0]).name}.log"
        common = {"SHOP_PORT": "0", "SHOP_RATE_LIMITS": "off", "SHOP_LOG_FORMAT": "json", "SHOP_LOG_LEVEL": "info"}
        with ExitStack() as stack:
            stack.callback(log.unlink, missing_ok=True)  # a round of hits may write a hundred megabytes
            with environment(common | dict(variables)):
                process = stack.enter_context(child(command, log))
            yield Server(address(process, log), process)

    def token(self, server: Server) -> str:
        """An access token of the first admin."""
        given = {"username": ADMIN, "password": PASSWORD}
        response = httpx.post(f"{server.url}/auth", json=given, timeout=30).raise_for_status()
        return str(response.json()["access_token"])

    def import_file(self, file: Path, database: str) -> None:
        """With the command that everyone imports with."""
        command = [script("shop-api"), "products", "import", str(file)]
        with environment({**self._service, "SHOP_MONGO_DB": database}):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StartError(f"the import failed:\n{done.stdout}{done.stderr}")

    def driver(self, work: str, **wanted: Any) -> Sample:
        """The figures of driver.py."""
        url, _, _ = self.settings.required()
        wanted = {"url": url, "database": self.settings.mongo_db, "work": work, **wanted}
        command = [sys.executable, str(HERE / "driver.py")]
        done = subprocess.run(command, input=json.dumps(wanted), capture_output=True, text=True, check=False)
        if done.returncode:
            raise StartError(f"driver.py failed:\n{done.stderr}")
        return Sample(**json.loads(done.stdout))


def script(name: str) -> str:
    """A command that is installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


def address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while not (ready := _ADDRESS.search(log.read_bytes())):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartError(f"a contender did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.002)
    # wrk would try ::1 first.
    return ready[1].decode().replace("localhost", "127.0.0.1")


@contextmanager
def environment(variables: Mapping[str, str], *, replace: bool = False) -> Iterator[None]:
    """The variables for the processes that are started in the block, beside the others or in their place."""
    before = dict(os.environ)
    if replace:
        os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)

"""The service as a process of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from typer.testing import CliRunner

from shop_api.cli.main import app
from shop_api.settings import Settings
from support import prefork
from support.patience import PATIENCE

SHOP_API = Path(sys.executable).with_name("shop-api")
FIRST_ADMIN = {"SHOP_ADMIN_USERNAME": "first-admin", "SHOP_ADMIN_PASSWORD": "the password of a first admin"}


def environment(settings: Settings, **extra: str) -> dict[str, str]:
    """What makes `shop-api serve` use the engines of `settings`."""
    mongo_url, redis_url, secret = settings.required()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    return {
        **inherited,
        "SHOP_MONGO_URL": mongo_url,
        "SHOP_MONGO_DB": settings.mongo_db,
        "SHOP_REDIS_URL": redis_url,
        **({"SHOP_REDIS_GUARDS_URL": guards.get_secret_value()} if (guards := settings.redis_guards_url) else {}),
        "SHOP_JWT_SECRET": secret.decode(),
        "SHOP_RATE_LIMITS": settings.rate_limits,
        "SHOP_LOG_FORMAT": "json",
        "SHOP_PORT": "0",
        **extra,
    }


def command(*words: object, **env: object) -> subprocess.CompletedProcess[str]:
    """What `shop-api` does with these words and variables, in this process: starting it takes a second."""
    variables: dict[str, str | None] = {name: None for name in os.environ if name.startswith("SHOP_")}
    variables |= {name: str(value) for name, value in env.items()}
    done = CliRunner().invoke(app, [str(word) for word in words], env=variables)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess([*map(str, words)], done.exit_code, done.stdout, done.stderr)


def run(
    env: Mapping[str, str], *words: object, cwd: Path | None = None, timeout: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """What `shop-api` does with these words, in a process of its own."""
    return prefork.run([str(word) for word in words], env, cwd=cwd, timeout=timeout)


@contextmanager
def started(env: Mapping[str, str], log: Path, *options: str) -> Iterator[tuple[prefork.Forked, str]]:
    """`shop-api serve` with its address, once it is ready; SIGTERM at the end if it still runs. On a database that is
    not embedded it has a first admin, without whom it would not start."""
    if "SHOP_MONGO_URL" in env:
        env = {**FIRST_ADMIN, **env}
    with log.open("wb") as output:
        process = prefork.Forked(["serve", *options], env, output, output)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (ready := re.search(rb"ready on (http://\S+)", log.read_bytes())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield process, ready[1].decode()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


@contextmanager
def serving(settings: Settings, folder: Path, *, admin: tuple[str, str]) -> Iterator[str]:
    """The address of a service on the engines of `settings`, with a first admin of this name and password."""
    env = environment(settings, SHOP_ADMIN_USERNAME=admin[0], SHOP_ADMIN_PASSWORD=admin[1])
    with started(env, folder / "serve.log") as (_, url):
        yield url


@contextmanager
def under_way(url: str, username: str) -> Iterator[tuple[socket.socket, bytes]]:
    """A connection on which the service is reading a registration, and the part of the body that is not sent yet."""
    body = json.dumps({"username": username, "password": "correct horse battery"}).encode()
    head = "POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("localhost", httpx.URL(url).port), timeout=PATIENCE) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # it asks for the body: it has the request
        connection.sendall(body[:20])
        yield connection, body[20:]


def listens(url: str) -> bool:
    """Whether anybody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", httpx.URL(url).port)) == 0


def token_of(url: str, username: str, password: str) -> str:
    """An access token, from the service at `url`."""
    response = httpx.post(f"{url}/auth", json={"username": username, "password": password}).raise_for_status()
    token: str = response.json()["access_token"]
    return token

"""A running service for the clients, with an admin and 1,000 products; and a server that is only there to refuse."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from factories import PASSWORD, TEST_SECRET, a_product
from processes import SHOP_API, environment, serving
from shop_api.clock import utc_now
from shop_api.settings import Settings
from shop_api.tokens import AccessTokens

ADMIN = ("root", PASSWORD)


@pytest.fixture(scope="module")
def service(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with a database of its own: an admin, and nothing else."""
    own = engines.model_copy(update={"mongo_db": f"sdk-{uuid.uuid4().hex[:12]}"})
    with serving(own, tmp_path_factory.mktemp("service"), admin=ADMIN) as url:
        yield url


@pytest.fixture(scope="module")
def filled(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one with 1,000 products, every tenth of them in `beauty`."""
    own = engines.model_copy(update={"mongo_db": f"sdk-{uuid.uuid4().hex[:12]}"})
    folder = tmp_path_factory.mktemp("filled")
    products = [
        a_product(product_id=f"p{n:04}", stock=n, category="beauty" if n % 10 == 0 else "tea") for n in range(1000)
    ]
    (folder / "products.json").write_text(json.dumps(products))
    command = [SHOP_API, "products", "import", folder / "products.json"]
    done = subprocess.run(command, env=environment(own), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with serving(own, folder, admin=ADMIN) as url:
        yield url


def expired(url: str, username: str = ADMIN[0]) -> dict[str, str | int]:
    """The tokens of a new session whose access token, signed by the service's own secret, expired an hour ago."""
    tokens = httpx.post(f"{url}/auth", json={"username": username, "password": PASSWORD}).raise_for_status().json()
    me = httpx.get(f"{url}/users/me", headers={"Authorization": f"Bearer {tokens['access_token']}"}).json()
    before = AccessTokens(TEST_SECRET.encode(), lambda: utc_now() - timedelta(hours=1, minutes=15))
    session_id = tokens["refresh_token"].split(".")[0]
    return {**tokens, "access_token": before.issue(me["id"], session_id)}


@dataclass
class Refusing:
    """A server that answers with `answers` in turn, each a status and headers; 0 closes the connection instead."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    """The method and the Idempotency-Key of each request."""


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    with running() as server:
        yield server


@contextmanager
def running() -> Iterator[Refusing]:
    state = Refusing()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            state.seen.append((self.command, self.headers.get("Idempotency-Key")))
            status, headers = state.answers.pop(0)
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            code = {429: "rate_limited", 503: "database_unavailable"}.get(status, "upstream_unavailable")
            body = json.dumps({"code": code, "detail": "Not now.", "status": status}).encode()
            if status < 300:
                body = json.dumps(PRODUCT).encode()
            kind = "application/json" if status < 300 else "application/problem+json"
            for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PATCH = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield state
        server.shutdown()
        thread.join()

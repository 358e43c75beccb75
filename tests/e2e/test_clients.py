"""HTTP clients as people have them: each signs in, creates a product, reads it, and is told of two conflicts."""

import http.client
import json
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.conftest import ADMIN
from e2e.stack import Instance, nginx
from support.chromium import chromium
from support.patience import PATIENCE

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent / "clients"
# Sign in, create, read, create again, change, and change with the version of before.
EXPECTED = [200, 201, 200, 409, 200, 412]


class EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Of a site that is not the service's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def addresses(env: dict[str, str], origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The service behind nginx, and an instance without it."""
    folder: Path = tmp_path_factory.mktemp("clients")
    instance = Instance({**env, "SHOP_CORS_ORIGINS": origin}, folder)
    instance.start()
    try:
        with nginx(folder / "nginx", [instance.port] * 3) as front:
            yield {"nginx": front.url, "instance": f"http://127.0.0.1:{instance.port}"}
    finally:
        instance.stop()


@pytest.fixture(params=["nginx", "instance"])
def url(request: pytest.FixtureRequest, addresses: dict[str, str]) -> str:
    return addresses[request.param]


@pytest.fixture
def name() -> str:
    """Of a product that does not exist."""
    return f"visit-{uuid.uuid4().hex[:8]}"


def installed(name: str) -> str:
    program = Path(sys.executable).with_name(name)
    found = str(program) if program.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"skipped: there is no {name} here")
    return found


def said(*command: object) -> Any:
    """The JSON that a program prints."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_java(url: str, name: str, tmp_path: Path):
    java = installed("java")
    if b"jdk.compiler" not in subprocess.run([java, "--list-modules"], capture_output=True).stdout:
        pytest.skip("skipped: there is no compiler with the java here")
    assert said(java, HERE / "Visit.java", url, name, *ADMIN) == EXPECTED


def test_node(url: str, name: str):
    script = f"import {{visit}} from {json.dumps(str(HERE / 'visit.mjs'))}; "
    script += "console.log(JSON.stringify(await visit(...process.argv.slice(1))))"
    assert said(installed("node"), "--input-type=module", "--eval", script, url, name, *ADMIN) == EXPECTED


def test_chromium_on_a_page_of_another_origin(url: str, name: str, origin: str, tmp_path: Path):
    code = (HERE / "visit.mjs").read_text().replace("export ", "")
    with chromium(tmp_path / "profile") as tab:
        tab.open(origin)
        assert tab.run(f"{code}; visit(...{json.dumps([url, name, *ADMIN])})") == EXPECTED


Ask = Callable[[str, str, Mapping[str, str], str | None], tuple[int, str, str | None]]
"""Sends a method, path, headers and body, and returns the status, body and ETag."""


def visit(ask: Ask, name: str) -> list[int]:
    """The statuses of a visit."""
    statuses, headers = [], {"Content-Type": "application/json"}

    def said(method: str, path: str, content: object = None, **more: str) -> tuple[Any, str | None]:
        status, text, tag = ask(method, path, {**headers, **more}, json.dumps(content) if content else None)
        statuses.append(status)
        return json.loads(text), tag

    tokens, _ = said("POST", "/auth", dict(zip(("username", "password"), ADMIN, strict=True)))
    headers["Authorization"] = f"Bearer {tokens['access_token']}"
    product = {"product_id": name, "name": name, "price": {"amount": 999, "currency": "EUR"}}
    said("POST", "/products", product)
    _, tag = said("GET", f"/products/{name}")
    said("POST", "/products", product)
    for stock in (1, 2):
        said("PATCH", f"/products/{name}", {"stock": stock}, **{"If-Match": str(tag)})
    return statuses


def test_curl(url: str, name: str):
    curl = installed("curl")

    def ask(method: str, path: str, headers: Mapping[str, str], content: str | None) -> tuple[int, str, str | None]:
        options = ["--silent", "--request", method, "--write-out", "\n%{http_code} %header{etag}"]
        for header in headers.items():
            options += ["--header", ": ".join(header)]
        if content:
            options += ["--data", content]
        done = subprocess.run([curl, *options, url + path], capture_output=True, text=True, timeout=PATIENCE)
        text, _, last = done.stdout.rpartition("\n")
        status, tag = last.split(" ")
        return int(status), text, tag

    assert visit(ask, name) == EXPECTED


def test_http_client(url: str, name: str):
    """Of Python, on one connection."""
    with closing(http.client.HTTPConnection(httpx.URL(url).netloc.decode(), timeout=PATIENCE)) as connection:

        def ask(method: str, path: str, headers: Mapping[str, str], text: str | None) -> tuple[int, str, str | None]:
            connection.request(method, path, text, headers)
            response = connection.getresponse()
            return response.status, response.read().decode(), response.headers["ETag"]

        assert visit(ask, name) == EXPECTED

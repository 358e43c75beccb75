"""What a client sees of HTTP through nginx: the same promises as of the service alone."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.conftest import ADMIN
from e2e.stack import CONFIGURATION, Shop, nginx
from e2e.test_edge import problem_of, raw
from support.factories import a_product
from support.patience import PATIENCE
from support.ports import free_port
from support.raw_http import ask

pytestmark = pytest.mark.e2e
PAGE = {"Origin": "https://page.example"}


def without_id(name: str) -> dict[str, Any]:
    body = a_product(name=name)
    del body["product_id"]
    return body


class TestErrorsOfNginxItself:
    @pytest.mark.parametrize(
        ("request_", "status"),
        [
            (b"GET /metrics HTTP/1.1\r\nHost: a\r\n", 404),
            (b"TRACE / HTTP/1.1\r\nHost: a\r\n", 405),
            (b"POST /products HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n", 413),
            (b"GET /%zz HTTP/1.1\r\nHost: a\r\n", 400),
            (b"GET /a HTTP/1.1\r\n", 400),
        ],
    )
    def test_can_be_read_by_any_page(self, shop: Shop, request_: bytes, status: int):
        answer = raw(shop.nginx.port, request_ + b"Origin: https://page.example\r\nConnection: close\r\n\r\n")
        problem_of(answer)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, "*")
        assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_so_can_that_there_is_no_instance(self, tmp_path: Path, method: str):
        with nginx(tmp_path / "nginx", [free_port() for _ in range(3)]) as front:
            answer = httpx.request(method, f"{front.url}/products", headers=PAGE)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (502, "*")

    def test_those_of_the_service_say_what_the_service_says(self, anyone: httpx.Client):
        answer = anyone.get("/products/none", headers=PAGE)
        assert (answer.status_code, "Access-Control-Allow-Origin" in answer.headers) == (404, False)

    def test_each_status_that_nginx_has_a_page_for_is_a_problem(self):
        # ngx_http_error_pages in its source, but for redirects and for those after which it says nothing.
        known = {*range(400, 407), *range(408, 417), 421, 429, 494, 495, 496, 497, *range(500, 506), 507}
        lines = re.findall(r"^ +error_page ([\d ]+?)(?: =\d+)? /\.problem;", CONFIGURATION.read_text(), re.MULTILINE)
        assert known - {401, 407} <= {int(status) for line in lines for status in line.split()}


class TestIdempotencyKeys:
    @pytest.mark.parametrize("key", ["cart,17", "a,,b", ",", 'a"b,c'])
    def test_may_have_commas(self, admin: httpx.Client, key: str):
        sent = [admin.post("/products", json=without_id(key), headers={"Idempotency-Key": key}) for _ in range(2)]
        assert [answer.status_code for answer in sent] == [201, 201]
        assert sent[0].json() == sent[1].json()

    @pytest.mark.parametrize("lines", [("a", "b"), ("a,", "b"), ("a", "")])
    def test_are_given_in_one_line(self, admin: httpx.Client, lines: tuple[str, str]):
        headers = [("Idempotency-Key", line) for line in lines]
        answer = admin.post("/products", json=without_id("twice"), headers=headers)
        assert (answer.status_code, problem_of(answer)["code"]) == (400, "bad_request")


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes requests and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class TestAnInstanceThatTakesLong:
    @pytest.fixture
    def front(self, shop: Shop, silent: int, tmp_path: Path) -> Iterator[str]:
        alive = shop.instances[1].port
        with nginx(tmp_path / "nginx", [silent, alive, alive], {"read_timeout 15s": "read_timeout 1s"}) as front:
            yield front.url

    def test_may_still_be_at_work_on_a_creation_so_no_other_is_asked(
        self, shop: Shop, admin: httpx.Client, front: str
    ):
        headers = {**admin.headers, "Idempotency-Key": "late", "X-Request-ID": "late-keyed"}
        answer = httpx.post(f"{front}/products", json=without_id("late"), headers=headers, timeout=PATIENCE)
        assert (answer.status_code, problem_of(answer)["code"]) == (502, "upstream_unavailable")
        assert shop.instances[1].answered("late-keyed") == []

    def test_is_no_reason_to_wait_for_it_with_a_read(self, front: str):
        assert httpx.get(f"{front}/products", timeout=PATIENCE).status_code == 200


def test_a_creation_that_reached_no_instance_is_sent_to_another(shop: Shop, admin: httpx.Client, tmp_path: Path):
    # Nobody answers at that address: packets to it are lost, as to a container that is gone.
    ports: list[int | str] = ["192.0.2.1:4000", shop.instances[1].port, shop.instances[1].port]
    headers = {**admin.headers, "Idempotency-Key": "unreached"}
    with nginx(tmp_path / "nginx", ports) as front:
        answer = httpx.post(f"{front.url}/products", json=without_id("there"), headers=headers, timeout=PATIENCE)
    assert answer.status_code == 201


class TestRequests:
    def test_an_upgrade_is_ignored(self, shop: Shop):
        body = json.dumps({"username": ADMIN[0], "password": ADMIN[1]}).encode()
        head = (
            b"POST /auth HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        )
        assert ask(shop.nginx.port, head + b"Content-Length: %d\r\n\r\n" % len(body) + body).status_code == 200

    def test_a_query_in_raw_utf_8_is_read(self, shop: Shop):
        request = "GET /products?q=caf\u00e9 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
        assert ask(shop.nginx.port, request).status_code == 200

    @pytest.mark.parametrize("given", ["*", "{}", "W/{}"])
    def test_what_must_not_be_there_is_412(self, admin: httpx.Client, given: str):
        added = admin.post("/products", json=without_id("condition"))
        headers = {"If-None-Match": given.format(added.headers["ETag"])}
        answer = admin.patch(added.headers["Location"], json={"stock": 7}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (412, "version_conflict")

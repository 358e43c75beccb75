"""What nginx itself adds, hides and answers."""

import json
import random
import socket
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from e2e.stack import Instance, Shop, nginx, wait_until
from support.factories import PASSWORD, a_product
from support.patience import PATIENCE
from support.ports import free_port

pytestmark = pytest.mark.e2e


def problem_of(response: httpx.Response) -> dict[str, object]:
    """The problem in the response, after a look at what all of them have in common."""
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, object] = response.json()
    assert list(problem) == ["type", "title", "status", "detail", "instance", "code", "request_id"]
    assert problem["status"] == response.status_code
    assert problem["type"] == f"/problems/{problem['code']}"
    assert problem["request_id"] == response.headers["X-Request-ID"] != ""
    return problem


def raw(port: int, request: bytes) -> httpx.Response:
    """The answer to bytes that no HTTP client would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        answer = connection.recv(65536)
        # Not sooner: nginx answers in another way if the body that it refuses has already ended.
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            while received := connection.recv(65536):
                answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = [(name, value) for name, value in (line.split(": ", 1) for line in lines)]
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)


class TestErrors:
    def test_a_body_over_one_mebibyte_is_refused_before_an_instance_is_asked(self, shop: Shop, anyone: httpx.Client):
        response = anyone.post("/products?secret=1", content=b"x" * (1024 * 1024 + 1))
        problem = problem_of(response)
        assert (response.status_code, problem["code"]) == (413, "body_too_large")
        assert problem["instance"] == "/products"
        line = shop.nginx.request(response.headers["X-Request-ID"])
        assert (line["method"], line["upstream"]) == ("POST", "")

    def test_a_body_of_one_mebibyte_reaches_the_service(self, anyone: httpx.Client):
        response = anyone.post(
            "/products", content=b"x" * (1024 * 1024), headers={"Content-Type": "application/json"}
        )
        assert response.json()["code"] == "malformed_body"

    @pytest.mark.parametrize(
        "request_",
        [
            b"GET / HTTP/1.1\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"GET /%zz HTTP/1.1\r\nHost: shop\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/3.7\r\nHost: shop\r\n\r\n",
        ],
        ids=["no host", "nonsense", "bad escape", "coding", "two lengths", "version"],
    )
    def test_what_is_not_http_is_a_bad_request(self, shop: Shop, request_: bytes):
        response = raw(shop.nginx.port, request_)
        assert (response.status_code, problem_of(response)["code"]) == (400, "bad_request")

    def test_a_long_header_is_431_and_a_long_url_414(self, shop: Shop):
        long = b"x" * 40_000
        for start, end, status, code in (
            (b"GET / HTTP/1.1\r\nHost: shop\r\nX: ", b"\r\n\r\n", 431, "headers_too_large"),
            (b"GET /", b" HTTP/1.1\r\nHost: shop\r\n\r\n", 414, "uri_too_long"),
        ):
            response = raw(shop.nginx.port, start + long + end)
            assert (response.status_code, problem_of(response)["code"]) == (status, code)

    def test_a_body_of_half_a_mebibyte_elsewhere_is_refused_by_the_service(self, anyone: httpx.Client):
        response = anyone.post("/register", content=b"x" * (512 * 1024))
        assert (response.status_code, problem_of(response)["code"]) == (413, "body_too_large")

    def test_a_path_cannot_break_the_json(self, shop: Shop):
        response = raw(shop.nginx.port, b'TRACE /a"b\\c\xff?d HTTP/1.1\r\nHost: shop\r\n\r\n')
        assert problem_of(response)["instance"] == "/a"

    def test_trace_is_not_allowed(self, anyone: httpx.Client):
        response = anyone.request("TRACE", "/products")
        assert (response.status_code, problem_of(response)["code"]) == (405, "method_not_allowed")
        assert "TRACE" not in response.headers["Allow"]

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_without_any_instance_the_client_is_told_to_try_again(self, tmp_path: Path, method: str):
        with nginx(tmp_path / "nginx", [free_port() for _ in range(3)]) as front:
            response = httpx.request(method, f"{front.url}/products")
        assert (response.status_code, problem_of(response)["code"]) == (502, "upstream_unavailable")
        assert response.headers["Retry-After"] == "1"

    def test_the_service_s_own_problems_pass_unchanged(self, anyone: httpx.Client):
        response = anyone.get("/products/none")
        assert (response.status_code, problem_of(response)["code"]) == (404, "product_not_found")


class TestHiding:
    @pytest.mark.parametrize(
        "path",
        ["/metrics", "/metrics?x", "/%6detrics", "//metrics", "/health/ready", "/x/../health/ready", "/.problem"],
    )
    def test_operations_are_not_published(self, shop: Shop, path: str):
        response = raw(shop.nginx.port, f"GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n".encode())
        assert (response.status_code, problem_of(response)["code"]) == (404, "not_found")
        assert shop.nginx.request(response.headers["X-Request-ID"])["upstream"] == ""

    def test_liveness_is_published(self, anyone: httpx.Client):
        assert anyone.get("/health/live").json() == {"status": "ok"}

    def test_the_version_of_nginx_is_not(self, anyone: httpx.Client):
        assert anyone.get("/metrics").headers["Server"] == "nginx"

    def test_the_log_has_the_path_without_the_query(self, shop: Shop, anyone: httpx.Client):
        anyone.get("/products?q=something+private", headers={"X-Request-ID": "query-1"})
        line = shop.nginx.request("query-1")
        assert (line["method"], line["path"], line["status"]) == ("GET", "/products", 200)
        assert "private" not in json.dumps(line)


class TestHandingOn:
    def test_a_sane_request_id_is_the_same_everywhere(self, shop: Shop, anyone: httpx.Client):
        response = anyone.get("/health/live", headers={"X-Request-ID": "mine/1"})
        assert response.headers["X-Request-ID"] == "mine/1"
        assert shop.nginx.request("mine/1")["status"] == 200
        wait_until(
            lambda: [line for instance in shop.instances for line in instance.answered("mine/1")] == ["mine/1"]
        )

    @pytest.mark.parametrize("given", [None, "", 'a"b', "x" * 129])
    def test_without_a_sane_one_it_is_made(self, shop: Shop, anyone: httpx.Client, given: str | None):
        response = anyone.get("/health/live", headers={} if given is None else {"X-Request-ID": given})
        made = response.headers["X-Request-ID"]
        assert len(made) == 32
        assert made != given
        assert shop.nginx.request(made)["status"] == 200

    def test_a_change_works_with_the_etag_of_a_compressed_answer(self, anyone: httpx.Client, admin: httpx.Client):
        body = a_product(product_id="long", description="long " * 500)
        added = admin.post("/products", json=body).raise_for_status()
        seen = anyone.get("/products/long", headers={"Accept-Encoding": "gzip"})
        assert seen.headers["Content-Encoding"] == "gzip"
        assert seen.headers["ETag"] == "W/" + added.headers["ETag"]  # no longer the same bytes
        change = {"stock": 7}
        assert (
            admin.patch("/products/long", json=change, headers={"If-Match": seen.headers["ETag"]}).status_code == 200
        )
        assert (
            admin.patch("/products/long", json=change, headers={"If-Match": seen.headers["ETag"]}).status_code == 412
        )

    @pytest.mark.skipif(sys.platform != "linux", reason="needs more than one loopback address")
    def test_rate_limits_go_by_the_client_s_address_whatever_it_says_it_is(self, env: dict[str, str], tmp_path: Path):
        instance = Instance({**env, "SHOP_RATE_LIMITS": "on"}, tmp_path)
        instance.start()
        # Addresses that an earlier run has not used up.
        ours, theirs = (f"127.{random.randrange(1, 255)}.{random.randrange(255)}.{last}" for last in (1, 2))
        try:
            with nginx(tmp_path / "nginx", [instance.port] * 3) as front:
                tried = [register(front.url, ours, f"198.51.100.{n}", f"name-{n}") for n in range(31)]
                assert tried == [403] * 30 + [429]
                assert register(front.url, theirs, ours, "name-31") == 403
        finally:
            instance.stop()


def register(url: str, address: str, says: str, username: str) -> int:
    """The status of an attempt from `address` to become an admin: it counts, and costs no password hash."""
    body = {"username": username, "password": PASSWORD, "role": "admin"}
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
        return client.post(f"{url}/register", json=body, headers={"X-Forwarded-For": says}).status_code

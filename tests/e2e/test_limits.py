"""What nginx refuses for the instances, and what can be switched on in its configuration."""

import itertools
import socket
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from e2e.stack import Shop, nginx, wait_until
from e2e.test_edge import problem_of, raw
from support.factories import a_product

pytestmark = pytest.mark.e2e
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs more than one loopback address")


def client_at(address: str, url: str) -> httpx.Client:
    return httpx.Client(base_url=url, transport=httpx.HTTPTransport(local_address=address))


class TestHeadersGivenTwice:
    @pytest.mark.parametrize(
        "headers",
        [
            b"Host: shop\r\nHost: other",
            b"Host: shop\r\nContent-Length: 2\r\nContent-Length: 3",
            b"Host: shop\r\nContent-Length: 2\r\nContent-Length: 2",
            b"Host: shop\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Host: shop\r\nContent-Length: 2\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b",
            b"Host: shop\r\nContent-Length: 2\r\nIdempotency-Key: a\r\nIdempotency-Key: b",
            b"Host: shop\r\nContent-Length: 2\r\nContent-Type: application/json\r\nContent-Type: text/plain",
            b'Host: shop\r\nContent-Length: 2\r\nIf-Match: "1"\r\nIf-Match: "2"',
        ],
        ids=lambda headers: headers.rpartition(b"\r\n")[2].partition(b":")[0].decode(),
    )
    def test_are_refused_before_an_instance_is_asked(self, shop: Shop, headers: bytes):
        response = raw(shop.nginx.port, b"POST /products HTTP/1.1\r\n" + headers + b"\r\n\r\n{}")
        assert (response.status_code, problem_of(response)["code"]) == (400, "bad_request")
        assert shop.nginx.request(response.headers["X-Request-ID"])["upstream"] == ""


@on_linux
class TestLimitsOfAnAddress:
    def test_a_burst_passes_and_more_is_refused_for_this_address_alone(self, shop: Shop, tmp_path: Path):
        ports = [instance.port for instance in shop.instances]
        # The burst is as it is shipped; what passes beside it is so little that the machine's speed does not matter.
        with nginx(tmp_path / "nginx", ports, {"rate=100r/s": "rate=1r/s"}) as front:
            with client_at("127.0.0.3", front.url) as client, ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(client.get, ["/health/live"] * 400))
            statuses = Counter(answer.status_code for answer in answers)
            assert statuses.keys() == {200, 429}
            assert statuses[200] > 200
            refused = next(answer for answer in answers if answer.status_code == 429)
            assert problem_of(refused)["code"] == "rate_limited"
            assert refused.headers["Retry-After"] == "1"
            with client_at("127.0.0.4", front.url) as client:
                assert client.get("/health/live").status_code == 200

    def test_a_hundred_requests_at_the_same_time_are_enough(self, shop: Shop):
        unfinished = b"POST /register HTTP/1.1\r\nHost: shop\r\nContent-Length: 9\r\n\r\n"
        with ExitStack() as stack:
            for _ in range(100):
                connection = socket.create_connection(("127.0.0.1", shop.nginx.port), 10, ("127.0.0.5", 0))
                stack.enter_context(connection).sendall(unfinished)
            with client_at("127.0.0.5", shop.nginx.url) as client:
                wait_until(lambda: client.get("/health/live").status_code != 200)
                assert problem_of(client.get("/health/live"))["code"] == "rate_limited"
            with client_at("127.0.0.6", shop.nginx.url) as client:
                assert client.get("/health/live").status_code == 200


class TestStrictTransportSecurity:
    def test_is_not_announced_by_default(self, anyone: httpx.Client):
        assert "Strict-Transport-Security" not in anyone.get("/products").headers

    def test_is_announced_everywhere_once_it_is_set(self, shop: Shop, tmp_path: Path):
        changes = {'$hsts {\n        default "";': '$hsts {\n        default "max-age=31536000";'}
        ports = [instance.port for instance in shop.instances]
        with nginx(tmp_path / "nginx", ports, changes) as front:
            for path in ("/products", "/products/none", "/metrics"):
                assert httpx.get(front.url + path).headers["Strict-Transport-Security"] == "max-age=31536000"


class TestMicroCache:
    def test_is_off_by_default(self, shop: Shop, anyone: httpx.Client):
        for n in range(2):
            anyone.get("/products?q=off", headers={"X-Request-ID": f"micro-off-{n}"})
            assert shop.nginx.request(f"micro-off-{n}")["upstream"] != ""

    def test_keeps_for_a_second_what_anybody_gets_of_the_catalogue(
        self, shop: Shop, admin: httpx.Client, tmp_path: Path
    ):
        admin.post("/products", json=a_product(product_id="micro", stock=1)).raise_for_status()
        ports = [instance.port for instance in shop.instances]
        with nginx(tmp_path / "nginx", ports, {"~^/products off;": "~^/products micro;"}) as front:

            def asked(request_id: str, **headers: str) -> tuple[int, bool]:
                """The stock that is told, and whether an instance was asked."""
                headers["X-Request-ID"] = request_id
                answer = httpx.get(f"{front.url}/products/micro", headers=headers)
                assert answer.headers.get_list("X-Request-ID") == [request_id]
                return answer.json()["stock"], front.request(request_id)["upstream"] != ""

            for n in itertools.count():
                started = time.monotonic()
                first, second = asked(f"micro-1-{n}-first"), asked(f"micro-1-{n}-second")
                if time.monotonic() - started < 1:  # else it was too old the second time, which shows nothing
                    break
            assert first == (1, True) or (n and first == (1, False))
            assert second == (1, False)
            assert asked("micro-3", Authorization=admin.headers["Authorization"])[1]
            admin.patch("/products/micro", json={"stock": 2}).raise_for_status()
            time.sleep(2.2)
            assert asked("micro-4") == (2, True)

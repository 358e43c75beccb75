"""Requests that no client library would send, to the service as it is served: every error is a problem with an id."""

import json
from collections.abc import Iterator

import pytest

from support.processes import serving
from support.raw_http import ask

ADMIN = ("owner", "a long password of the owner")
HANDSHAKE = (
    b"GET /products HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CHUNKED = (
    b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.fixture(scope="module")
def port(engines, tmp_path_factory) -> Iterator[int]:
    with serving(engines, tmp_path_factory.mktemp("served"), admin=ADMIN) as url:
        yield int(url.rpartition(":")[2])


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /products HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"GET /products HTTP/1.1\r\n\r\n",
        b"GET /products HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        HANDSHAKE,
        CHUNKED + b"xyz\r\n",
    ],
    ids=["nonsense", "length", "no host", "two hosts", "asterisk", "connect", "websocket", "chunk"],
)
def test_what_is_not_http_as_it_should_be_is_a_problem(port, request_):
    for _ in range(2):  # the second one is not answered from the cache either
        answer = ask(port, request_)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["status"]) == (400, "bad_request", 400)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["X-Request-ID"] == problem["request_id"] != ""


def test_a_sign_in_with_an_upgrade_is_read(port):
    body = json.dumps({"username": ADMIN[0], "password": ADMIN[1]}).encode()
    head = (
        b"POST /auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    )
    answer = ask(port, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert (answer.status_code, "access_token" in answer.json()) == (200, True)


def test_a_query_in_raw_utf_8_is_read(port):
    answer = ask(port, "GET /products?q=caf\u00e9 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (answer.status_code, answer.json()["items"]) == (200, [])


def test_the_server_as_a_whole_has_options(port):
    answer = ask(port, b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (answer.status_code, "GET" in answer.headers["Allow"]) == (204, True)

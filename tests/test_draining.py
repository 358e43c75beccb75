"""SIGTERM under load: nobody who behaves is cut off, and the end comes in time."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from processes import environment, started
from shop_api.settings import Settings

BODY = b'{"username": "half-sent", "password": "correct horse battery"}'


@contextmanager
def half_sent(url: str) -> Iterator[socket.socket]:
    """A connection on which the first half of a POST has been sent."""
    with socket.create_connection(("localhost", httpx.URL(url).port), timeout=10) as connection:
        head = "POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY[:20])
        time.sleep(0.2)
        yield connection


class KeepAlive(threading.Thread):
    """A client that asks again and again on one connection, until it is told to connect elsewhere."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._port = httpx.URL(url).port
        self.statuses: list[int] = []
        self.told_to_close = False
        self.wrong: Exception | None = None

    def run(self) -> None:
        connection = http.client.HTTPConnection("localhost", self._port, timeout=10)
        try:
            while not self.told_to_close:
                connection.request("GET", "/products")
                response = connection.getresponse()
                response.read()
                self.statuses.append(response.status)
                self.told_to_close = response.headers["Connection"] == "close"
        except Exception as error:
            self.wrong = error
        finally:
            connection.close()


@pytest.fixture(scope="module")
def seen(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What was seen of an instance that was told to stop while clients kept it busy."""
    seen: dict = {}
    log = tmp_path_factory.mktemp("draining") / "serve.log"
    env = environment(engines, SHOP_DRAIN_SECONDS="2", SHOP_LOG_LEVEL="info")
    with started(env, log) as (process, url):
        clients = [KeepAlive(url) for _ in range(8)]
        for client in clients:
            client.start()
        with half_sent(url) as slow:
            seen["before"] = httpx.get(f"{url}/health/ready").status_code
            began = time.monotonic()
            process.terminate()
            time.sleep(0.5)
            seen["ready"] = httpx.get(f"{url}/health/ready")
            seen["live"] = httpx.get(f"{url}/health/live")
            seen["metrics"] = httpx.get(f"{url}/metrics").text
            slow.sendall(BODY[20:])
            seen["slow"] = slow.recv(2000)
        for client in clients:
            client.join(20)
        seen["exit"] = process.wait(20)
        seen["seconds"] = time.monotonic() - began
    seen["clients"] = clients
    seen["log"] = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return seen


class TestDraining:
    def test_it_is_no_longer_ready_and_says_why(self, seen):
        assert seen["before"] == 200
        assert (seen["ready"].status_code, seen["ready"].json()["code"]) == (503, "not_ready")
        assert "draining" in seen["ready"].json()["detail"]

    def test_it_still_lives_and_tells_prometheus(self, seen):
        assert seen["live"].status_code == 200
        assert "\nshop_draining 1.0\n" in seen["metrics"]
        assert "\nshop_ready 0.0\n" in seen["metrics"]

    def test_clients_on_kept_connections_are_sent_away_without_an_error(self, seen):
        assert [client.wrong for client in seen["clients"]] == [None] * 8
        assert all(client.told_to_close for client in seen["clients"])
        assert {status for client in seen["clients"] for status in client.statuses} == {200}
        assert min(len(client.statuses) for client in seen["clients"]) > 5

    def test_a_request_under_way_is_answered(self, seen):
        head = seen["slow"].lower()
        assert head.startswith(b"http/1.1 201 ")
        assert b"\r\nconnection: close\r\n" in head

    def test_it_ends_with_0_after_the_time_it_was_given(self, seen):
        assert seen["exit"] == 0
        assert 2 <= seen["seconds"] < 8
        assert [line for line in seen["log"] if line["level"] in ("warning", "error")] == []


def test_a_request_that_never_ends_does_not_hold_up_the_end(engines: Settings, tmp_path: Path):
    with started(environment(engines), tmp_path / "serve.log") as (process, url), half_sent(url):
        began = time.monotonic()
        process.terminate()
        assert process.wait(20) == 0
        assert 9 < time.monotonic() - began < 15

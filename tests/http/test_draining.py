"""SIGTERM under load: nobody who behaves is cut off, and the end comes when it should."""

import http.client
import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from shop_api.settings import Settings
from support.patience import PATIENCE
from support.pids import soon
from support.prefork import Forked
from support.processes import environment, started, under_way


class KeepAlive(threading.Thread):
    """A client that asks again and again on one connection, until it is told to connect elsewhere."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._port = httpx.URL(url).port
        self.statuses: list[int] = []
        self.told_to_close = False
        self.wrong: Exception | None = None

    def run(self) -> None:
        connection = http.client.HTTPConnection("localhost", self._port, timeout=PATIENCE)
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


class Instance(NamedTuple):
    process: Forked
    url: str
    log: Path


@pytest.fixture(scope="module")
def seen(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What was seen of an instance that was told to stop while clients kept it busy."""
    seen: dict = {}
    log = tmp_path_factory.mktemp("draining") / "serve.log"
    # Longer than all that is looked at takes on any machine; a second Ctrl-C ends it.
    env = environment(engines, SHOP_DRAIN_SECONDS="300", SHOP_LOG_LEVEL="info")
    with started(env, log) as (process, url):
        clients = [KeepAlive(url) for _ in range(8)]
        for client in clients:
            client.start()
        with under_way(url, "half-sent") as (slow, rest):
            seen["before"] = httpx.get(f"{url}/health/ready").status_code
            assert soon(lambda: min(len(client.statuses) for client in clients) > 5)
            process.terminate()
            assert soon(lambda: httpx.get(f"{url}/health/ready").status_code == 503)
            seen["ready"] = httpx.get(f"{url}/health/ready")
            seen["live"] = httpx.get(f"{url}/health/live")
            seen["metrics"] = httpx.get(f"{url}/metrics").text
            slow.sendall(rest)
            seen["slow"] = slow.recv(2000)
        for client in clients:
            client.join(PATIENCE)
        process.send_signal(signal.SIGINT)
        seen["exit"] = process.wait(PATIENCE)
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

    def test_it_ends_with_0_and_nothing_went_wrong(self, seen):
        assert seen["exit"] == 0
        assert [line for line in seen["log"] if line["level"] in ("warning", "error")] == []


@pytest.fixture
def instance(engines: Settings, tmp_path: Path) -> Iterator[Callable[[int], Instance]]:
    """An instance that drains for so many seconds."""
    with ExitStack() as stack:

        def start(drain_seconds: int) -> Instance:
            log = tmp_path / f"{drain_seconds}.log"
            env = environment(engines, SHOP_DRAIN_SECONDS=str(drain_seconds))
            return Instance(*stack.enter_context(started(env, log)), log)

        yield start


def test_it_drains_as_long_as_it_was_told_to_and_a_second_ctrl_c_skips_the_rest(instance):
    short, long = instance(2), instance(300)
    with under_way(long.url, "never-ends"):
        began = time.monotonic()
        for each in (short, long):
            each.process.send_signal(signal.SIGINT)
        assert short.process.wait(PATIENCE) == 0
        assert time.monotonic() - began >= 2
        assert httpx.get(f"{long.url}/health/live").status_code == 200
        long.process.send_signal(signal.SIGINT)
        assert long.process.wait(PATIENCE) == 0  # also with a request that never ends
    assert "Traceback" not in long.log.read_text()


def test_a_request_that_never_ends_is_given_ten_seconds(instance):
    never = instance(0)
    with under_way(never.url, "never-ends"):
        began = time.monotonic()
        never.process.terminate()
        assert never.process.wait(PATIENCE) == 0
        assert time.monotonic() - began > 9
    # Its own deadline is as long, and it began before the end did.
    assert re.search(r"Cancel 1 running task\(s\)|\"status\": 408", never.log.read_text())
    assert "Traceback" not in never.log.read_text()

"""How requests are spread over the instances, and what becomes of them when one is lost."""

import itertools
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from e2e.scale import amount
from e2e.stack import Load, Shop, nginx, wait_until
from support.factories import PASSWORD, a_product
from support.patience import PATIENCE
from support.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.long]
CLIENTS = 8
REQUESTS = amount("REQUESTS", 2400)


def test_requests_are_spread_three_to_two_to_one(shop: Shop):
    load = Load(shop.nginx.port, "/health/live")
    load.run((f"weights-{n}" for n in range(REQUESTS)), CLIENTS)
    assert load.outcomes == {200: REQUESTS}

    def counts() -> list[int]:
        return [len(instance.answered("weights-")) for instance in shop.instances]

    wait_until(lambda: sum(counts()) == REQUESTS)  # an instance writes its log after its answer
    for count, share in zip(counts(), (3 / 6, 2 / 6, 1 / 6), strict=True):
        assert count / REQUESTS == pytest.approx(share, abs=0.01)


def test_no_get_fails_when_an_instance_is_killed_and_it_is_taken_back_once_it_runs_again(shop: Shop):
    victim, load, enough = shop.instances[0], Load(shop.nginx.port, "/products"), threading.Event()
    ids = itertools.takewhile(lambda _: not enough.is_set(), (f"killed-{n}" for n in itertools.count()))
    with ThreadPoolExecutor() as pool:
        running = pool.submit(load.run, ids, CLIENTS)
        try:
            wait_until(lambda: len(victim.answered("killed-")) > 100)
            victim.kill()
            at_death, killed = len(victim.answered("killed-")), time.monotonic()
            time.sleep(2.5)  # longer than fail_timeout: once in this time it is tried again
            wait_until(lambda: len(shop.nginx.requests("killed-")) > 500)
            lines, gone = shop.nginx.requests("killed-"), time.monotonic() - killed
            victim.start()
            wait_until(lambda: len(victim.answered("killed-")) > at_death + 100)
        finally:
            enough.set()  # or the load would never end
        running.result()

    assert load.outcomes.keys() <= {200, "cut off"}
    assert load.outcomes["cut off"] <= CLIENTS  # those it was sending at that moment
    # Those it had not answered, and then one every two seconds: everything else never met it.
    asked_twice = [line for line in lines if "," in line["upstream"]]
    assert 1 <= len(asked_twice) <= CLIENTS + 2 + gone / 2


def test_a_write_is_not_sent_to_another_instance_after_the_one_that_had_it_died(shop: Shop, admin: httpx.Client):
    victim, others = shop.instances[0], shop.instances[1:]
    for n in range(12):
        admin.post("/products", json=a_product(product_id=f"once-{n}", stock=0)).raise_for_status()

    def register(n: int) -> httpx.Response:
        body, headers = {"username": f"once-{n}", "password": PASSWORD}, {"X-Request-ID": f"post-{n}"}
        return httpx.post(f"{shop.nginx.url}/register", json=body, headers=headers, timeout=PATIENCE)

    def change(n: int) -> httpx.Response:
        body = a_product(product_id=f"once-{n}", stock=7)
        headers = {"X-Request-ID": f"put-{n}", "Authorization": admin.headers["Authorization"]}
        return httpx.put(f"{shop.nginx.url}/products/once-{n}", json=body, headers=headers, timeout=PATIENCE)

    def read(n: int) -> httpx.Response:
        return httpx.get(f"{shop.nginx.url}/products", headers={"X-Request-ID": f"get-{n}"}, timeout=PATIENCE)

    victim.freeze()
    with ThreadPoolExecutor(36) as pool:
        posts = [pool.submit(register, n) for n in range(12)]
        puts = [pool.submit(change, n) for n in range(12)]
        gets = [pool.submit(read, n) for n in range(12)]
        time.sleep(2)  # the others have answered theirs by now
        waiting = [any(not answer.done() for answer in answers) for answers in (posts, puts, gets)]
        victim.kill()
    victim.start()
    assert waiting == [True, True, True]

    assert {get.result().status_code for get in gets} == {200}  # a GET may be asked again, and was
    answers = [post.result() for post in posts]
    assert {answer.status_code for answer in answers} == {201, 502}
    answered = [request_id for other in others for request_id in other.answered("post-")]
    assert sorted(answered) == sorted(a.headers["X-Request-ID"] for a in answers if a.status_code == 201)
    for n, answer in enumerate(answers):
        registered = admin.get(f"/users/once-{n}").status_code == 200
        assert registered == (answer.status_code == 201)
    changed = [put.result().status_code for put in puts]
    assert set(changed) == {200, 502}
    stocks = [
        admin.get(f"/products/once-{n}", headers={"Cache-Control": "no-cache"}).json()["stock"] for n in range(12)
    ]
    assert stocks == [7 if status == 200 else 0 for status in changed]


def test_a_write_that_reached_no_instance_is_sent_to_another(shop: Shop, admin: httpx.Client, tmp_path: Path):
    admin.post("/products", json=a_product(product_id="reached", stock=0)).raise_for_status()
    dead, alive = free_port(), shop.instances[1].port
    headers = {"Authorization": admin.headers["Authorization"], "X-Request-ID": "reached"}
    with nginx(tmp_path / "nginx", [dead, alive, alive]) as front:
        body = a_product(product_id="reached", stock=7)
        answer = httpx.put(f"{front.url}/products/reached", json=body, headers=headers)
        assert (answer.status_code, answer.json()["stock"]) == (200, 7)
        assert re.findall(r":(\d+)", front.request("reached")["upstream"]) == [str(dead), str(alive)]


@pytest.mark.skipif(sys.platform != "linux", reason="a full queue refuses elsewhere")
def test_an_instance_that_swallows_packets_delays_one_request_by_a_second(shop: Shop, tmp_path: Path):
    others = [instance.port for instance in shop.instances[1:]]
    with (
        black_hole() as hole,
        nginx(tmp_path / "nginx", [hole, *others]) as front,
        httpx.Client(base_url=front.url, timeout=PATIENCE) as client,
    ):
        answers = [client.get("/health/live", headers={"X-Request-ID": f"hole-{n:02}"}) for n in range(12)]
        upstreams = [front.request(f"hole-{n:02}")["upstream"] for n in range(12)]
    assert {answer.status_code for answer in answers} == {200}
    delayed = [answer for answer, upstream in zip(answers, upstreams, strict=True) if str(hole) in upstream]
    (slow,) = (answer.elapsed.total_seconds() for answer in delayed)
    longest = max(answer.elapsed.total_seconds() for answer in answers if answer not in delayed)
    assert 0.9 < slow < 1.2 + 5 * longest


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that nothing comes back from, as at the address of a container that is gone: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address[1]
        for filler in fillers:
            filler.close()

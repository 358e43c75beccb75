"""Redis can do what it wants: reads go on, writes take no longer than two seconds, and soon all is well again."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from e2e.conftest import ADMIN
from e2e.scale import amount
from e2e.stack import Instance, two_behind_nginx, wait_until
from e2e.traffic import Traffic, summary
from support.faults import RedisServer, Wire
from support.processes import token_of
from support.redis_servers import until, watched

pytestmark = [pytest.mark.e2e, pytest.mark.long]
ROUNDS = amount("FAULTS", 1)
FAILOVERS = amount("FAILOVERS", 2)


class Broken(NamedTuple):
    """Two instances behind nginx, and a Redis of their own on a wire that breaks."""

    port: int
    token: str
    instances: list[Instance]
    server: RedisServer
    wire: Wire


@pytest.fixture(scope="module")
def shop(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    folder = tmp_path_factory.mktemp("redis-faults")
    (folder / "redis").mkdir()
    server = RedisServer(folder / "redis")
    server.start()
    wire = Wire(server.port)
    with ExitStack() as stack:
        stack.callback(server.stop)
        port = stack.enter_context(wire.open())
        limited = {**env, "SHOP_RATE_LIMITS": "on", "SHOP_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
        front, instances = stack.enter_context(two_behind_nginx(limited, folder))
        yield Broken(front.port, token_of(front.url, *ADMIN), instances, server, wire)


def killed(shop: Broken) -> None:
    shop.server.kill()
    time.sleep(1)
    shop.server.forget_saved()
    shop.server.start()


def stopped(shop: Broken) -> None:
    shop.server.freeze()
    time.sleep(1.5)
    shop.server.thaw()


def slow(shop: Broken) -> None:
    shop.wire.delay = 0.5
    time.sleep(1.5)
    shop.wire.delay = 0


def back_with_old_data(shop: Broken) -> None:
    shop.server.save()
    time.sleep(0.5)
    shop.server.kill()
    shop.server.start()


@pytest.mark.parametrize("fault", [killed, stopped, slow, back_with_old_data])
def test_no_request_fails_and_writes_take_two_seconds_at_most(shop: Broken, fault: Callable[[Broken], None]):
    for _ in range(ROUNDS):
        with Traffic(shop.port, shop.token) as traffic:
            time.sleep(0.4)
            fault(shop)
            mended = time.monotonic()
            for instance in shop.instances:
                wait_until(partial(is_up, instance.port))
            time.sleep(0.6)
        print(f"\n{fault.__name__}: {dict(summary(traffic.replies))}, slowest {traffic.slowest('POST', 'PUT'):.2f} s")
        check(traffic, mended)


@pytest.mark.campaign
def test_a_failover_by_sentinels_is_no_different(env: dict[str, str], tmp_path: Path):
    folders = redis, shop = tmp_path / "redis", tmp_path / "shop"
    for folder in folders:
        folder.mkdir()
    with watched(redis) as group:
        limited = {**env, "SHOP_RATE_LIMITS": "on", "SHOP_REDIS_URL": group.url}
        with two_behind_nginx(limited, shop) as (front, instances):
            token = token_of(front.url, *ADMIN)
            for number in range(FAILOVERS):
                with Traffic(front.port, token) as traffic:
                    time.sleep(0.4)
                    old = group.primary
                    assert old is not None
                    old.kill() if number % 2 == 0 else old.freeze()
                    group.elect_another_than(old)
                    elected = time.monotonic()
                    for instance in instances:
                        wait_until(partial(is_up, instance.port))
                    old.start() if number % 2 == 0 else old.thaw()
                    until(lambda: group.is_whole)
                print(f"\n{dict(summary(traffic.replies))}, slowest {traffic.slowest('POST', 'PUT'):.2f} s")
                check(traffic, elected)


def check(traffic: Traffic, mended: float) -> None:
    assert traffic.errors() == []
    assert traffic.slowest("POST", "PUT") < 2 + traffic.machine
    assert traffic.healthy_after(mended) < 5 + traffic.machine


def is_up(port: int) -> bool:
    return redis_of(port) == "up"


def redis_of(port: int) -> str:
    state: str = httpx.get(f"http://127.0.0.1:{port}/health/ready").json()["redis"]
    return state

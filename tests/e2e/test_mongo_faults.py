"""What MongoDB does wrong is a 503 with Retry-After, loses nothing and does nothing twice."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
from pymongo import MongoClient

from e2e.conftest import ADMIN
from e2e.scale import amount
from e2e.stack import two_behind_nginx
from e2e.traffic import Traffic, summary
from shop_api.settings import Settings
from support.faults import MongoServer
from support.mongo_wire import NOT_PRIMARY, SHUTTING_DOWN, WRITES, Fault, MongoWire
from support.processes import environment, token_of

pytestmark = [pytest.mark.e2e, pytest.mark.long]
ROUNDS = amount("FAULTS", 1)
READS = frozenset({"find", "aggregate"})
# The second to who sends a creation again before its claim could be given up, which needs the database too.
ANSWERS = {(503, "database_unavailable"), (409, "idempotency_in_progress")}


class Broken(NamedTuple):
    """Two instances behind nginx, and a MongoDB of their own on a wire that breaks."""

    port: int
    token: str
    server: MongoServer
    wire: MongoWire
    database: str


@pytest.fixture(scope="module")
def shop(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    folder = tmp_path_factory.mktemp("mongo-faults")
    server = MongoServer(folder)
    wire = MongoWire(server.start())
    with ExitStack() as stack:
        stack.callback(server.stop)
        port = stack.enter_context(wire.open())
        env = environment(engines, SHOP_ADMIN_USERNAME=ADMIN[0], SHOP_ADMIN_PASSWORD=ADMIN[1], SHOP_LOG_LEVEL="error")
        env["SHOP_MONGO_URL"] = f"mongodb://127.0.0.1:{port}/?directConnection=true"
        front, _ = stack.enter_context(two_behind_nginx(env, folder))
        yield Broken(front.port, token_of(front.url, *ADMIN), server, wire, env["SHOP_MONGO_DB"])


def reset(shop: Broken) -> None:
    for _ in range(5):
        shop.wire.reset_all()
        time.sleep(0.1)


def not_primary(shop: Broken) -> None:
    refused(shop, NOT_PRIMARY)


def shutting_down(shop: Broken) -> None:
    refused(shop, SHUTTING_DOWN)


def refused(shop: Broken, error: dict[str, Any]) -> None:
    shop.wire.add(Fault("refused", WRITES | READS, error), 10)
    for _ in range(6):
        time.sleep(0.1)
        shop.wire.reset_all()  # a server whose state changes says so to whoever watches it


def lost_replies(shop: Broken) -> None:
    shop.wire.add(Fault("lost", WRITES), 10)
    time.sleep(1)


def half_open(shop: Broken) -> None:
    shop.wire.vanish()
    time.sleep(0.5)


def too_slow(shop: Broken) -> None:
    shop.wire.delay = 6
    time.sleep(6.5)


def killed(shop: Broken) -> None:
    shop.server.kill()
    time.sleep(0.5)
    shop.wire.server_port = shop.server.start()


FAULTS = (reset, not_primary, shutting_down, lost_replies, half_open, too_slow, killed)


@pytest.mark.parametrize("fault", FAULTS)
def test_no_write_is_lost_or_done_twice_and_errors_are_503(shop: Broken, fault: Callable[[Broken], None]):
    for _ in range(ROUNDS):
        met = shop.wire.met
        with Traffic(shop.port, shop.token) as traffic:
            time.sleep(0.4)
            fault(shop)
            shop.wire.mend()
            mended = time.monotonic()
            time.sleep(0.6)
        print(
            f"\n{fault.__name__}: {dict(summary(traffic.replies))}, {shop.wire.met - met} commands met it, "
            f"slowest {traffic.slowest('GET', 'POST', 'PUT'):.2f} s"
        )
        assert {(reply.status, reply.code) for reply in traffic.errors()} <= ANSWERS
        assert all(reply.retry_after for reply in traffic.errors())
        # An operation may take 4 of them and the release of a key 1.
        assert traffic.slowest("GET", "POST", "PUT") < 6 + traffic.machine
        assert traffic.healthy_after(mended) < 10 + traffic.machine
        with MongoClient[dict](f"mongodb://127.0.0.1:{shop.wire.server_port}/?directConnection=true") as client:
            traffic.check(client[shop.database]["products"])

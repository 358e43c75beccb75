"""The cache of several real processes on one database and one Redis."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from e2e.conftest import ADMIN
from e2e.stack import Instance, Shop, wait_until
from shop_api.cache.cache import LIFE
from support.factories import a_product
from support.faults import RedisServer
from support.patience import PATIENCE
from support.processes import token_of

pytestmark = pytest.mark.e2e
BOUND = 1.0
SOON = 0.5
"""Seconds. Less than the life of an entry, which alone would keep the promise."""
ROUNDS = 20
_names = (f"cached-{n}" for n in itertools.count())


@pytest.fixture
def product(admin: httpx.Client) -> str:
    """The path of a new product, with a stock of 40."""
    name = next(_names)
    assert admin.post("/products", json=a_product(product_id=name)).status_code == 201
    return f"/products/{name}"


@pytest.fixture
def products(env: dict[str, str]) -> Iterator[Collection]:
    """The collection, as somebody outside the service has it."""
    with MongoClient[dict](env["SHOP_MONGO_URL"]) as client:
        yield client[env["SHOP_MONGO_DB"]]["products"]


@pytest.fixture
def each(shop: Shop) -> Iterator[list[httpx.Client]]:
    """A client of each instance, past nginx."""
    clients = [
        httpx.Client(base_url=f"http://127.0.0.1:{instance.port}", timeout=PATIENCE) for instance in shop.instances
    ]
    yield clients
    for client in clients:
        client.close()


def hold(clients: list[httpx.Client], path: str) -> None:
    """All of them hold what is there now, for almost as long as they may."""
    for client in clients:
        wait_until(partial(_is_held, client, path))


def _is_held(client: httpx.Client, path: str) -> bool:
    return "hit" in client.get(path).headers["cache-status"]


def until_all_read(clients: list[httpx.Client], path: str, stock: int) -> float:
    """After how many seconds nobody is given an older stock any more. Who asks after one second never is."""
    acknowledged = time.monotonic()
    for client in clients:
        while True:
            asked = time.monotonic()
            if client.get(path).json()["stock"] == stock:
                break
            assert asked <= acknowledged + BOUND
    return time.monotonic() - acknowledged


def test_a_write_through_nginx_is_seen_by_all_instances_within_a_second(admin, each, product):
    assert admin.put(product, json=a_product(stock=7)).status_code == 422  # another product_id
    for stock in range(ROUNDS):
        hold(each, product)
        assert admin.put(product, json=a_product(product_id=None, stock=stock)).status_code == 200
        if until_all_read(each, product, stock) < SOON:
            return
    pytest.fail("never sooner than what is held is too old")


def test_a_change_by_a_plain_client_of_the_database_is_seen_by_all_instances_within_a_second(each, product, products):
    for stock in range(ROUNDS):
        hold(each, product)
        products.update_one({"_id": product.rpartition("/")[2]}, {"$set": {"stock": stock}})
        if until_all_read(each, product, stock) < SOON:
            return
    pytest.fail("never sooner than what is held is too old")


def test_who_asks_an_instance_gets_a_miss_then_a_hit_then_304(each, admin):
    client = each[0]
    for _ in range(ROUNDS):
        path = f"/products/{next(_names)}"
        added = admin.post("/products", json=a_product(product_id=path.rpartition("/")[2])).raise_for_status()
        started = time.monotonic()
        miss, hit = client.get(path), client.get(path)
        held = client.get(path, headers={"If-None-Match": added.headers["ETag"]})
        # Else it may have been too old, or invalidated for the new product, which shows nothing.
        if time.monotonic() - started < LIFE and "age" in hit.headers:
            break
    assert miss.headers["cache-status"] == "shop_api; fwd=uri-miss; stored"
    assert (hit.headers["cache-status"], hit.headers["age"]) == ("shop_api; hit; detail=memory", "0")
    assert miss.headers["etag"] == hit.headers["etag"] == added.headers["etag"]
    assert miss.content == hit.content
    assert (held.status_code, held.content) == (304, b"")
    assert "hit" in held.headers["cache-status"]
    head = client.head(path)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(miss.content)))


def test_what_one_instance_has_stored_another_finds_in_redis(each, product):
    deadline, numbers = time.monotonic() + PATIENCE, itertools.count()
    while time.monotonic() < deadline:  # on a busy machine the followers may be behind
        url = f"/products?min_price={next(numbers)}"
        each[2].get(url)  # what is asked for once is not stored
        each[0].get(url)
        time.sleep(0.05)  # it stores after its answer
        if "redis" in each[1].get(url).headers["cache-status"]:
            return
    pytest.fail("never found")


def test_redis_killed_under_load_and_back_with_old_data_costs_no_error_and_no_promise(
    env: dict[str, str], tmp_path: Path
):
    (tmp_path / "redis").mkdir()
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    name = env["SHOP_MONGO_DB"] + "-redis"
    own = {**env, "SHOP_MONGO_DB": name, "SHOP_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0"}
    instance = Instance({**own, "SHOP_LOG_HITS_EVERY": "100"}, tmp_path)
    try:
        instance.start()
        url = f"http://127.0.0.1:{instance.port}"
        with MongoClient[dict](env["SHOP_MONGO_URL"]) as outside:
            hot = Hot(url, outside[name]["products"])
            with hot:
                hot.goes_on(100, 10)
                redis.save()
                hot.goes_on(20, 5)  # which Redis has forgotten when it comes back
                redis.kill()
                hot.goes_on(100, 10)
                redis.start()  # with what it had saved
                time.sleep(1.2)  # until it is trusted again
                hot.goes_on(100, 10)
            outside.drop_database(name)
        assert hot.wrong == []
    finally:
        instance.stop()
        redis.stop()


class Hot:
    """Eight clients that read twenty products, while these are changed through the service and past it."""

    PATHS = tuple(f"/products/hot-{n}" for n in range(20))

    def __init__(self, url: str, products: Collection) -> None:
        self._url, self._products = url, products
        self._admin = {"Authorization": f"Bearer {token_of(url, *ADMIN)}"}
        self._acknowledged: dict[str, list[tuple[float, int]]] = {}
        """When each stock has to be seen at the latest, by path."""
        self._done = threading.Event()
        self.reads = self.writes = 0
        self.wrong: list[str] = []
        for path in self.PATHS:
            body = a_product(product_id=path.rpartition("/")[2], stock=0)
            httpx.post(f"{url}/products", json=body, headers=self._admin).raise_for_status()
            self._acknowledged[path] = [(0.0, 0)]

    def __enter__(self) -> None:
        self._pool = ThreadPoolExecutor(9)
        self._running = [self._pool.submit(self._read, n) for n in range(8)] + [self._pool.submit(self._write)]

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._pool.shutdown()
        for each in self._running:
            each.result()

    def goes_on(self, reads: int, writes: int) -> None:
        """Waits until there have been so many more, or one was wrong."""
        reads, writes = self.reads + reads, self.writes + writes
        wait_until(lambda: self.wrong or (self.reads >= reads and self.writes >= writes))

    def _read(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE) as client:
            for path in itertools.islice(itertools.cycle(self.PATHS), number, None):
                if self._done.is_set():
                    return
                least = max(stock for at, stock in tuple(self._acknowledged[path]) if at <= time.monotonic())
                answer = client.get(path)
                self.reads += 1
                if answer.status_code != 200 or answer.json()["stock"] < least:
                    self.wrong.append(f"{path}: {answer.status_code}, not yet {least}: {answer.text}")

    def _write(self) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE, headers=self._admin) as client:
            for stock, path in enumerate(itertools.cycle(self.PATHS), 1):
                if self._done.is_set():
                    return
                allowed = 0.0
                if stock % 2:
                    answer = client.put(path, json=a_product(product_id=None, stock=stock))
                    if answer.status_code != 200:
                        self.wrong.append(f"PUT {path}: {answer.status_code}: {answer.text}")
                else:
                    change = {"$set": {"stock": stock}, "$inc": {"version": 1}}
                    self._products.update_one({"_id": path.rpartition("/")[2]}, change)
                    allowed = BOUND
                self._acknowledged[path].append((time.monotonic() + allowed, stock))
                self.writes += 1
                time.sleep(0.01)

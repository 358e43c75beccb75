"""Changes that are made outside the service, by a plain client of the database."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise

import httpx
import pymongo
import pytest
from pymongo import DeleteOne, InsertOne, MongoClient, UpdateOne
from redis.asyncio import Redis

from cache.conftest import settled
from cache.history import FOLLOWING, Instance, cluster
from conftest import Client, client_of
from shop_api.cache import cache
from shop_api.cache.memory import Entry
from shop_api.cache.response import CachedResponse
from shop_api.container import Services
from shop_api.kernel.clock import utc_now
from support.factories import a_product
from support.patience import PATIENCE

BOUND = 1.0


def document(product_id: str, **overrides) -> dict:
    fields = a_product(product_id=product_id, category="outside", **overrides)
    now = utc_now()
    stored = {"name_key": "x", "words": ["x"], "version": 1, "created_at": now, "updated_at": now}
    return {"_id": fields.pop("product_id"), **fields, **stored}


@pytest.fixture(scope="module")
async def instance(engines, tmp_path_factory) -> AsyncIterator[Instance]:
    settings = engines.model_copy(update={"mongo_db": f"test-{uuid.uuid4().hex[:12]}"})
    async with cluster(settings, tmp_path_factory.mktemp("redis"), 1) as one:
        yield one.instances[0]


@pytest.fixture
async def shop(instance) -> Services:
    return instance.app.state.services


@pytest.fixture
async def anyone(instance) -> AsyncIterator[Client]:
    async with client_of(instance.app) as client:
        yield client


@pytest.fixture(scope="module")
def outside(engines, instance) -> Iterator:
    """The collection, as somebody else has it."""
    with MongoClient[dict](engines.required()[0]) as client:
        yield client[instance.app.state.services.settings.mongo_db]["products"]


@pytest.fixture
async def tea(outside, shop) -> None:
    outside.delete_many({})
    outside.insert_one(document("tea"))
    await settled(shop)


async def until(condition) -> None:
    """Waits for `await condition()`."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.002)


CHANGES = {
    "update": lambda products: products.update_one({"_id": "tea"}, {"$set": {"stock": 7}}),
    "replace": lambda products: products.replace_one({"_id": "tea"}, document("tea", stock=7)),
    "delete": lambda products: products.delete_one({"_id": "tea"}),
    "insert": lambda products: products.insert_one(document("new")),
    "bulk": lambda products: products.bulk_write(
        [UpdateOne({"_id": "tea"}, {"$set": {"stock": 7}}), InsertOne(document("new")), DeleteOne({"_id": "none"})]
    ),
    "many": lambda products: products.update_many({}, {"$set": {"stock": 7}}),
}


@pytest.mark.usefixtures("tea", "long_life")
class TestChange:
    @pytest.mark.parametrize("kind", CHANGES)
    async def test_it_is_seen_before_what_is_held_is_too_old(self, anyone, outside, kind):
        reads = ["/products/new"] if kind == "insert" else ["/products/tea"]
        reads += ["/products/new"] if kind == "bulk" else []
        reads += ["/products?category=outside"]
        before = {}
        for url in reads:
            await anyone.get(url)
            answer = await anyone.get(url)
            assert "hit" in answer.headers["cache-status"]
            before[url] = answer.status_code, answer.headers.get("etag"), answer.headers.get("content-length")
        CHANGES[kind](outside)

        async def is_seen() -> bool:
            answers = {url: await anyone.get(url) for url in reads}
            return all(
                (a.status_code, a.headers.get("etag"), a.headers.get("content-length")) != before[url]
                or (url == "/products/tea" and a.status_code == 200 and a.json()["stock"] == 7)
                for url, a in answers.items()
            )

        await until(is_seen)

    async def test_redis_does_not_bring_it_back(self, anyone, outside, shop):
        for _ in range(2):
            await anyone.get("/products/tea")
            shop.cache.memory.clear()
        assert "redis" in (await anyone.get("/products/tea")).headers["cache-status"]
        outside.update_one({"_id": "tea"}, {"$set": {"stock": 7}})

        async def is_seen() -> bool:
            shop.cache.memory.clear()
            return (await anyone.get("/products/tea")).json()["stock"] == 7

        await until(is_seen)
        for _ in range(20):
            assert await is_seen()

    async def test_a_dropped_collection_clears_all_that_is_held(self, anyone, outside, shop):
        await anyone.get("/products/tea")
        shop.cache.memory.put(
            ("/kept", b""), Entry(CachedResponse(200, [], b""), ("kept",), None, 0.0, float("inf")), time.monotonic()
        )
        outside.drop()

        async def is_gone() -> bool:
            return (await anyone.get("/products/tea")).status_code == 404

        async def is_clear() -> bool:
            return shop.cache.memory.get(("/kept", b""), time.monotonic()) is None

        await until(is_gone)
        await until(is_clear)
        await settled(shop)  # it follows the next one of that name
        outside.insert_one(document("tea"))

        async def is_back() -> bool:
            return (await anyone.get("/products/tea")).status_code == 200

        await until(is_back)


@pytest.mark.usefixtures("tea", "long_life")
class TestMany:
    async def test_a_constant_stream_does_not_keep_it_from_knowing_how_far_it_is(self, outside, shop):
        failures, writes = shop.cache.counters.redis_failures, 0

        def write() -> None:
            nonlocal writes
            for _ in range(150):
                outside.update_one({"_id": "tea"}, {"$inc": {"stock": 1}})
                writes += 1
                time.sleep(0.01)

        writing = asyncio.create_task(asyncio.to_thread(write))
        advances: dict[float, int] = {}
        while not writing.done():
            advances.setdefault(shop.cache.seen_through, writes)
            await asyncio.sleep(0.01)
        await writing
        at = [*advances.values(), writes]
        # Writes between two moments, which take longer on a busy machine: fewer than in the second that counts.
        assert max(later - earlier for earlier, later in pairwise(at)) < 80
        assert shop.cache.counters.redis_failures == failures

    async def test_a_flood_does_not_block_the_service(self, anyone, outside, shop):
        many = 4_000
        documents = [document(f"flood-{n}") for n in range(many)]
        await anyone.get(f"/products/flood-{many - 1}")

        writing = asyncio.create_task(asyncio.to_thread(outside.insert_many, documents, ordered=False))
        took: list[float] = []
        calm = time.monotonic() + 0.5
        while not writing.done() or time.monotonic() < calm or len(took) <= 20:
            started = time.thread_time()  # what the loop has to do before its turn comes
            assert (await anyone.get("/health/live")).status_code == 200
            took.append(time.thread_time() - started)
            await asyncio.sleep(0.005)
        await writing
        assert max(took) < 1

        async def is_seen() -> bool:
            return (await anyone.get(f"/products/flood-{many - 1}")).status_code == 200

        await until(is_seen)
        await settled(shop)
        outside.update_one({"_id": "flood-7"}, {"$set": {"stock": 7}})

        async def is_followed() -> bool:
            return (await anyone.get("/products/flood-7")).json()["stock"] == 7

        await until(is_followed)
        outside.drop()  # without another flood


class TestCut:
    async def test_without_it_redis_is_not_used_and_reads_are_at_most_a_second_old(
        self, instance, anyone, outside, shop, tea, monkeypatch
    ):
        await anyone.get("/products/tea")
        instance.mongo.refused = FOLLOWING
        try:
            cut, acknowledged = time.monotonic(), [(0.0, 40)]
            while time.monotonic() <= shop.cache.seen_through + BOUND:
                await asyncio.sleep(0.01)
            hits = shop.cache.counters.redis_hits
            while time.monotonic() < cut + 2.5 or len(acknowledged) < 5:
                stock = acknowledged[-1][1] + 1
                await asyncio.to_thread(outside.update_one, {"_id": "tea"}, {"$set": {"stock": stock}})
                acknowledged.append((time.monotonic(), stock))
                for _ in range(5):
                    asked = time.monotonic()
                    answer = await anyone.get("/products/tea")
                    assert answer.status_code == 200
                    assert answer.json()["stock"] >= max(n for at, n in acknowledged if at <= asked - BOUND)
                    await asyncio.sleep(0.01)
            assert shop.cache.counters.redis_hits == hits
        finally:
            instance.mongo.refused = ()
        await settled(shop)
        for _ in range(3):
            await anyone.get("/products/tea")
            shop.cache.memory.clear()
        assert shop.cache.counters.redis_hits > hits
        monkeypatch.setattr(cache, "LIFE", 3600.0)
        await anyone.get("/products/tea")
        outside.update_one({"_id": "tea"}, {"$set": {"stock": 1}})

        async def is_seen() -> bool:
            return (await anyone.get("/products/tea")).json()["stock"] == 1

        await until(is_seen)


async def ask(client: Client, url: str) -> httpx.Response:
    """As a GET of a client that has less time than the service gives to a database that does not answer."""
    with pymongo.timeout(1):
        return await client.get(url)


class TestDatabaseGone:
    READS = ("/products/tea", "/products?category=outside")

    @pytest.fixture
    async def warm(self, instance, anyone, shop, tea) -> AsyncIterator[None]:
        """Redis holds both, and the database is gone until the end of the test."""
        for url in self.READS:
            async with asyncio.timeout(PATIENCE):
                while "redis" not in (await anyone.get(url)).headers["cache-status"]:
                    await asyncio.sleep(0.02)
                    shop.cache.memory.clear()
        shop.cache.memory.clear()
        instance.mongo.cut = True
        yield
        instance.mongo.cut = False
        await settled(shop)

    async def test_what_redis_holds_is_given_in_its_place(self, instance, anyone, outside, shop, warm, monkeypatch):
        monkeypatch.setattr(cache, "_SPARED", 3600.0)
        monkeypatch.setattr(cache, "STALE_IF_ERROR", 3600.0)

        async def is_given(url: str) -> bool:
            answer = await ask(anyone, url)
            assert answer.status_code == 200
            given = answer.headers["cache-status"] == "shop_api; hit; detail=database-unavailable"
            assert not given or int(answer.headers["age"]) >= 1
            return given

        async def is_known() -> bool:
            return await is_given(self.READS[0])

        await until(is_known)
        fills = shop.cache.counters.fills
        for _ in range(10):
            assert [await is_given(url) for url in self.READS] == [True, True]
        assert shop.cache.counters.fills == fills  # nobody waits for what is known to be gone
        shop.cache._gone_until = time.monotonic()  # it has been for long enough: one finds out whether it still is
        assert await is_known()
        assert shop.cache.counters.fills == fills + 1
        unknown = await ask(anyone, "/products?category=unknown")
        assert (unknown.status_code, unknown.json()["code"]) == (503, "database_unavailable")

        instance.mongo.cut = False
        await settled(shop)
        monkeypatch.setattr(cache, "LIFE", 3600.0)
        outside.update_one({"_id": "tea"}, {"$set": {"stock": 7}})

        async def is_seen() -> bool:
            return (await anyone.get("/products/tea")).json()["stock"] == 7

        await until(is_seen)

    async def test_what_another_instance_has_changed_meanwhile_is_not_given(self, anyone, shop, warm):
        answer = await ask(anyone, "/products/tea")
        assert answer.status_code == 200
        async with Redis.from_url(shop.settings.redis_url.get_secret_value()) as redis:
            # As by its writer. This instance cannot follow.
            assert await redis.set(f"{shop.cache.redis._prefix}product:tea", b"another!", xx=True)
        await asyncio.sleep(BOUND)
        assert (await ask(anyone, "/products/tea")).status_code == 503
        assert (await ask(anyone, "/products?category=outside")).status_code == 200

    async def test_it_ends(self, anyone, shop, warm, monkeypatch):
        assert (await ask(anyone, "/products/tea")).status_code == 200
        grace = time.monotonic() - shop.cache.seen_through + 1
        monkeypatch.setattr(cache, "STALE_IF_ERROR", grace)

        async def is_over() -> bool:
            return (await ask(anyone, "/products/tea")).status_code == 503

        await until(is_over)
        assert time.monotonic() >= shop.cache.seen_through + grace

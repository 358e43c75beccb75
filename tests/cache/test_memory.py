"""The tier in this process: what it keeps, what it gives up, and that it is as large as it says."""

import gc
import json
import tracemalloc

import pytest
from starlette.responses import JSONResponse
from starlette.routing import compile_path

from shop_api.cache.marking import CacheableRoute
from shop_api.cache.memory import OVERHEAD_BYTES, Entry, MemoryTier
from shop_api.cache.middleware import CacheAccess, CacheMiddleware, _key
from shop_api.cache.response import CachedResponse

MANY = 2**30


def an_entry(tags=("products",), body=b"x" * 400, *, born=0.0, expires=1.0) -> Entry:
    answer = CachedResponse(200, [(b"content-type", b"application/json"), (b"etag", b'"1"')], body)
    return Entry(answer, tags, None, born, expires)


def key(name: object) -> tuple[str, bytes]:
    return f"/products/{name}", b""


def size_of(entry: Entry) -> int:
    """What it counts for, under a short key."""
    memory = MemoryTier(MANY)
    memory.put(key("a"), entry, 0.0)
    return memory.bytes


def held(memory: MemoryTier, *names: object, now: float = 0.5) -> list[object]:
    return [name for name in names if memory.get(key(name), now) is not None]


class TestBound:
    @pytest.fixture
    def three(self) -> MemoryTier:
        """Room for three entries, with three in it."""
        memory = MemoryTier(3 * size_of(an_entry()) + 100)
        for name in "abc":
            memory.put(key(name), an_entry(), 0.0)
        return memory

    def test_the_least_recently_used_goes_first(self, three):
        three.get(key("a"), 0.1)
        three.put(key("d"), an_entry(), 0.2)
        assert held(three, *"abcd") == ["a", "c", "d"]

    def test_to_put_it_again_is_to_use_it(self, three):
        three.put(key("a"), an_entry(), 0.1)
        three.put(key("d"), an_entry(), 0.2)
        assert held(three, *"abcd") == ["a", "c", "d"]

    def test_a_large_one_takes_the_place_of_several(self, three):
        three.put(key("large"), an_entry(body=b"x" * (400 + size_of(an_entry()))), 0.1)
        assert held(three, *"abc", "large") == ["c", "large"]

    def test_one_that_is_larger_than_all_room_is_not_kept_and_drives_out_nobody(self, three):
        three.put(key("huge"), an_entry(body=b"x" * three.max_bytes), 0.1)
        assert held(three, *"abc", "huge") == ["a", "b", "c"]

    def test_one_that_grew_too_large_is_gone_in_its_old_form_too(self, three):
        three.put(key("a"), an_entry(body=b"x" * three.max_bytes), 0.1)
        assert held(three, *"abc") == ["b", "c"]

    def test_long_keys_count_too(self):
        memory, length = MemoryTier(2**20), 50_000
        for n in range(1000):
            memory.put(("/products", b"%d" % n + b"&" * length), an_entry(), 0.0)
        assert len(memory) * length <= 2**20

    def test_a_hundred_thousand_different_keys_stay_within_it(self):
        memory, most = MemoryTier(2**20), 0
        answer, tags = CachedResponse(200, [(b"etag", b'"1"')], b"x" * 400), ("product:a", "products")
        for n in range(100_000):
            # Some of them expire before there is no more room for them.
            memory.put(("/products", b"%d" % n), Entry(answer, tags, None, n, n + 100 + n % 500), n)
            most = max(most, memory.bytes)
        assert 2**19 < most <= 2**20
        assert len(memory) <= 2**20 // (400 + OVERHEAD_BYTES)
        memory.invalidate(["products"])
        assert (memory.bytes, len(memory), memory._keys) == (0, 0, {})


class TestCount:
    """`bytes` is what is held, however it goes."""

    @pytest.fixture
    def memory(self) -> MemoryTier:
        memory = MemoryTier(MANY)
        for n in range(100):
            memory.put(key(n % 60), an_entry((f"product:{n % 7}", "products"), b"x" * n), 0.0)
        return memory

    def test_each_key_counts_once(self, memory):
        last_put = {n % 60: n for n in range(100)}
        least = sum(last_put.values()) + 60 * OVERHEAD_BYTES
        assert len(memory) == 60
        assert least <= memory.bytes <= least + 60 * 20  # and the keys

    @pytest.mark.parametrize(
        "empty",
        [
            lambda memory: memory.clear(),
            lambda memory: memory.invalidate(["products"]),
            lambda memory: memory.invalidate([f"product:{n}" for n in range(7)]),
            lambda memory: memory.put(key("late"), an_entry(), 1.0),  # expired itself, and so are the others
        ],
        ids=["cleared", "one tag", "all tags", "expired"],
    )
    def test_nothing_is_left_of_what_is_gone(self, memory, empty):
        empty(memory)
        assert (memory.bytes, len(memory), memory._keys) == (0, 0, {})
        memory.put(key("late"), an_entry(expires=3.0), 2.0)
        assert (len(memory), len(memory._expiries)) == (1, 1)
        assert 0 < memory.bytes < 2 * OVERHEAD_BYTES


class TestLife:
    def test_it_ends_when_the_entry_says(self):
        memory = MemoryTier(MANY)
        memory.put(key("a"), an_entry(expires=1.0), 0.0)
        assert held(memory, "a", now=0.999) == ["a"]
        assert held(memory, "a", now=1.0) == []

    def test_a_newer_one_outlives_the_end_of_the_older_one(self):
        memory = MemoryTier(MANY)
        memory.put(key("a"), an_entry(expires=1.0), 0.0)
        memory.put(key("a"), an_entry(expires=2.0), 0.9)
        memory.put(key("b"), an_entry(expires=2.0), 1.5)
        assert held(memory, "a", now=1.9) == ["a"]

    def test_what_has_expired_is_given_up_with_the_next_put(self):
        memory = MemoryTier(MANY)
        for n in range(10):
            memory.put(key(n), an_entry(expires=1.0), 0.0)
        memory.put(key("new"), an_entry(expires=2.0), 1.0)
        assert len(memory) == 1

    def test_one_that_arrives_too_late_is_not_kept(self):
        memory = MemoryTier(MANY)
        memory.put(key("a"), an_entry(expires=1.0), 1.0)
        assert len(memory) == 0

    def test_its_age_grows(self):
        entry = an_entry(born=10.0, expires=99.0)
        ages = [dict(entry.headers(now))[b"age"] for now in (10.0, 10.9, 11.0, 12.5, 12.6)]
        assert ages == [b"0", b"0", b"1", b"2", b"2"]
        assert dict(entry.headers(13.0))[b"etag"] == b'"1"'


class TestInvalidate:
    @pytest.fixture
    def memory(self) -> MemoryTier:
        memory = MemoryTier(MANY)
        for name in "ab":
            memory.put(key(name), an_entry((f"product:{name}",)), 0.0)
        for name in ("list", "facets"):
            memory.put(key(name), an_entry(("products",)), 0.0)
        return memory

    @pytest.mark.parametrize(
        ("tags", "left"),
        [
            (["product:a"], ["b", "list", "facets"]),
            (["products"], ["a", "b"]),
            (["product:a", "products"], ["b"]),
            (["product:c"], ["a", "b", "list", "facets"]),
            ([], ["a", "b", "list", "facets"]),
        ],
    )
    def test_what_has_one_of_the_tags_is_gone_and_nothing_else(self, memory, tags, left):
        memory.invalidate(tags)
        assert held(memory, "a", "b", "list", "facets") == left

    def test_it_can_be_put_again(self, memory):
        memory.invalidate(["product:a"])
        memory.put(key("a"), an_entry(("product:a",)), 0.0)
        assert held(memory, "a") == ["a"]
        memory.invalidate(["product:a"])
        assert held(memory, "a") == []


async def test_what_it_counts_is_what_it_takes():
    """With all that an entry brings along: headers as the framework makes them, key, tags, and those of a hit."""
    entries = 2_000
    route = CacheableRoute(
        "/products/{product_id}", compile_path("/products/{product_id}")[0], ("product:{product_id}",)
    )

    async def service(scope, receive, send):
        filling = "x" * (300 + int(scope["path"][-4:]) * 2700 // entries)
        response = JSONResponse({"description": filling}, headers={"ETag": '"1"', "Cache-Control": "no-cache"})
        await response(scope, receive, send)

    cached = CacheMiddleware(service, service, [route], CacheAccess())

    async def filled(memory: MemoryTier) -> None:
        for n in range(entries):
            path = json.loads(f'"/products/0198c5b2-7d6e-7c3a-9f54-3a1f7c1d{n:04}"')  # nobody else's string
            scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
            tags = route.tags_of(path)
            assert tags is not None
            now = float(n) / 1e6
            answer = await cached._public_response(scope, tags)
            memory.put(_key(scope), Entry(answer, tags, route, now, now + 1), now)
            entry = memory.get(_key(scope), now)
            assert entry is not None
            entry.headers(now)

    await filled(MemoryTier(MANY))  # whatever is made once, has been
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        memory = MemoryTier(MANY)
        await filled(memory)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    beside = (taken - memory.bytes) / entries + OVERHEAD_BYTES
    assert len(memory) == entries
    assert taken <= memory.bytes * 1.15, f"{beside:.0f} bytes beside each body"
    assert taken >= memory.bytes * 0.5, f"{beside:.0f} bytes beside each body"  # nor is half of the room wasted

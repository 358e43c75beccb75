"""The tier that all instances share, on a Redis of its own that can be broken."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from shop_api.cache.counters import Counters
from shop_api.cache.redis import RedisTier, WriteToken
from shop_api.cache.response import CachedResponse
from shop_api.kernel import tasks
from shop_api.observability.command_metrics import CommandMetrics
from support.faults import RedisServer, Wire
from support.own_time import own_time
from support.patience import PATIENCE

TAGS = ("product:a",)
KEY = ("/products/a", b"")
LIST, LIST_TAGS = ("/products", b"limit=5"), ("products",)
SLOWEST = 0.6
"""Seconds of our own that a command bounded at 0.2 may take."""


def an_answer(text: str = "old") -> CachedResponse:
    body = text.encode()
    return CachedResponse(200, [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))], body)


@pytest.fixture
async def server(tmp_path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def wire(server) -> Wire:
    return Wire(server.port)


@pytest.fixture
async def tier_of(server, wire) -> AsyncIterator[Callable]:
    """`await tier_of("shop")`: another instance of that shop; the wire can be broken for all of them."""
    async with AsyncExitStack() as stack:
        port = stack.enter_context(wire.open())
        trusting = []

        async def another(namespace: str = "shop") -> RedisTier:
            tier = RedisTier(f"redis://127.0.0.1:{port}/0", namespace, Counters(), CommandMetrics("redis"))
            trusting.append(asyncio.create_task(tier.keep_trusted()))
            stack.push_async_callback(tier.close)
            await ticket_of(tier)
            return tier

        yield another
        assert not any(task.done() for task in trusting)  # none of them has failed
        await tasks.end(trusting)


@pytest.fixture
async def direct(server) -> AsyncIterator[Redis]:
    async with Redis(port=server.port) as client:
        yield client


async def ticket_of(tier: RedisTier, key=KEY, tags=TAGS) -> WriteToken:
    """What permits to store an answer, as soon as there is one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        ticket, _ = await tier.lookup(key, tags)
        if ticket is not None:
            return ticket
        tier.expect(key, tags)
        assert time.monotonic() < deadline, "not trusted"
        await asyncio.sleep(0.01)


def failed(tier: RedisTier) -> int:
    """How many of its commands have failed so far."""
    samples = (sample for metric in tier._metrics.collect() for sample in metric.samples)
    return sum(int(s.value) for s in samples if s.name.endswith("_count") and s.labels["outcome"] == "failed")


async def found(tier: RedisTier, key=KEY, tags=TAGS) -> str | None:
    _, stored = await tier.lookup(key, tags)
    return stored[0].body.decode() if stored else None


async def put(tier: RedisTier, text: str = "old", key=KEY, tags=TAGS) -> None:
    tier.store(key, await ticket_of(tier, key, tags), an_answer(text), time.monotonic())
    assert await found(tier, key, tags) == text


class TestShared:
    async def test_what_one_has_stored_another_finds_with_its_age(self, tier_of):
        one, other = await tier_of(), await tier_of()
        # The second one has begun an epoch of its own.
        born = time.monotonic() - 30
        one.store(KEY, await ticket_of(one), an_answer(), born)
        await found(one)
        _, (answer, age) = await other.lookup(KEY, TAGS)
        assert answer == an_answer()
        assert 29.9 < age < time.monotonic() - born + 0.1

    async def test_another_key_under_the_same_tags_is_another_answer(self, tier_of):
        tier = await tier_of()
        await put(tier, key=("/products", b"limit=5"))
        assert await found(tier, key=("/products", b"limit=6")) is None
        assert await found(tier, key=("/products?limit=5", b"")) is None

    async def test_what_was_expected_may_be_stored_the_next_time(self, tier_of):
        tier = await tier_of()
        assert await tier.lookup(("/products/new", b""), ("product:new",)) == (None, None)
        assert await tier.lookup(("/products/new", b""), ("product:new",)) == (None, None)
        tier.expect(KEY, ("product:new",))
        ticket, stored = await tier.lookup(("/products/new", b""), ("product:new",))
        assert (ticket is None, stored) == (False, None)

    async def test_a_list_is_stored_at_its_second_miss(self, tier_of, direct):
        """Otherwise each made-up query would fill Redis with one more page."""
        tier, stored = await tier_of(), {}
        await ticket_of(tier, LIST, LIST_TAGS)
        for number in range(50):
            key = ("/products", b"q=%d" % number)
            ticket, _ = await tier.lookup(key, LIST_TAGS)
            assert ticket is None
            tier.expect(key, LIST_TAGS)
        ticket, answer = await tier.lookup(("/products", b"q=7"), LIST_TAGS)
        assert (ticket is None, answer) == (False, None)
        tier.store(("/products", b"q=7"), ticket, an_answer(), time.monotonic())
        assert await found(tier, ("/products", b"q=7"), LIST_TAGS) == "old"
        async for name in direct.scan_iter("*answer:*"):
            stored[name] = len(await direct.get(name))
        assert sum(size > 1 for size in stored.values()) == 1

    async def test_a_tag_ends_all_answers_that_carry_it_and_no_others(self, tier_of):
        one, other = await tier_of(), await tier_of()
        both = ("product:a", "products")
        await put(one)
        await put(one, "list", LIST, LIST_TAGS)
        await put(one, "both", ("/both", b""), both)
        await other.invalidate(["product:a"])
        for tier in (one, other):
            assert await found(tier) is None
            assert await found(tier, ("/both", b""), both) is None
            assert await found(tier, LIST, LIST_TAGS) == "list"
        await other.invalidate(["products"])
        assert await found(one, LIST, LIST_TAGS) is None

    @pytest.mark.parametrize("writer", [0, 1], ids=["itself", "another"])
    async def test_what_was_read_before_a_change_is_not_found_after_it(self, tier_of, writer):
        tiers = [await tier_of(), await tier_of()]
        ticket = await ticket_of(tiers[0])
        await tiers[writer].invalidate(TAGS)
        tiers[0].store(KEY, ticket, an_answer(), time.monotonic())
        assert [await found(tier) for tier in tiers] == [None, None]
        await put(tiers[0], "new")
        assert [await found(tier) for tier in tiers] == ["new", "new"]

    async def test_shops_do_not_share(self, tier_of):
        one, other = await tier_of("shop_api:one"), await tier_of("shop_api:two")
        await put(one, "of one")
        await ticket_of(other)
        assert await found(other) is None
        await put(other, "of two")
        await other.invalidate(TAGS)
        assert (await found(one), await found(other)) == ("of one", None)

    async def test_all_that_is_stored_expires_but_the_epoch(self, tier_of, direct):
        await put(await tier_of())
        lives = {name.rpartition(b":")[2]: await direct.ttl(name) for name in await direct.keys()}
        assert lives.pop(b"epoch") == -1
        assert len(lives) == 2
        assert all(0 < seconds <= 300 for seconds in lives.values())


async def test_a_tier_that_was_closed_does_not_connect_again(server, direct):
    tier = RedisTier(f"redis://127.0.0.1:{server.port}/0", "shop", Counters(), CommandMetrics("redis"))
    trusting = asyncio.create_task(tier.keep_trusted())
    try:
        tier.store(KEY, await ticket_of(tier), an_answer(), time.monotonic())
        trusting.cancel()
        await tier.close()
        await asyncio.sleep(0.1)
        assert len(await direct.client_list()) == 1  # this test's own
    finally:
        await tier.close()


class TestFault:
    """It happens with `old` in Redis, which nobody may find afterwards, since there is a change meanwhile."""

    @pytest.fixture(params=["killed", "restarted with old data", "hangs", "slow", "cut off", "flushed"])
    def fault(self, request, server, wire) -> tuple[str, Callable, Callable]:
        def restart() -> None:
            server.kill()
            server.start()

        def wires(delay: float = 0.0, cut: bool = False) -> None:
            wire.delay, wire.cut = delay, cut
            wire.break_all() if cut else None

        nothing = lambda: None  # noqa: E731
        faults = {
            "killed": (server.kill, server.start),
            "restarted with old data": (restart, nothing),
            "hangs": (server.freeze, server.thaw),
            "slow": (lambda: wires(delay=0.5), wires),
            "cut off": (lambda: wires(cut=True), wires),
            "flushed": (lambda: server.says("FLUSHALL"), nothing),
        }
        return (request.param, *faults[request.param])

    async def test_it_costs_the_answers_and_nothing_else(self, fault, tier_of, server):
        name, break_it, mend_it = fault
        one, other = await tier_of(), await tier_of()
        await put(one)
        assert await found(other) == "old"
        server.save()
        if name == "restarted with old data":
            await one.invalidate(TAGS)
            await put(one, "newer, and lost")
        await asyncio.to_thread(break_it)

        took = []
        for tags in (TAGS, TAGS, LIST_TAGS):
            async with own_time() as spent:
                await one.invalidate(tags)
            took.append(spent.seconds)
            async with own_time() as spent:
                assert await found(one) is None
            took.append(spent.seconds)
        assert max(took) < SLOWEST
        if name in ("killed", "hangs", "slow", "cut off"):
            assert took[2] < 0.05  # it knows by now
            assert await other.lookup(KEY, TAGS) == (None, None)

        await asyncio.to_thread(mend_it)
        for tier in (one, other):
            at_mending = failed(tier)
            async with asyncio.timeout(PATIENCE):
                while (await tier.lookup(KEY, TAGS))[0] is None:
                    await asyncio.sleep(0.01)
            assert failed(tier) - at_mending <= 2  # those that were under way
            assert await found(tier) is None
        await put(one, "new")
        async with asyncio.timeout(PATIENCE):
            while await found(other) != "new":  # the other may have begun an epoch once more
                await put(one, "new")

    async def test_old_data_that_comes_back_unnoticed_is_not_found(self, tier_of, server):
        tiers = [await tier_of(), await tier_of()]
        await put(tiers[0])
        assert await found(tiers[1]) == "old"
        server.save()
        await tiers[0].invalidate(TAGS)
        await put(tiers[0], "new")
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert [await found(tier) for tier in tiers] == [None, None]
            await asyncio.sleep(0.01)
        for tier in tiers:
            await ticket_of(tier)

    async def test_one_that_refuses_to_write_is_not_used(self, tier_of, direct):
        tier = await tier_of()
        await put(tier)
        await direct.config_set("maxmemory-policy", "noeviction")
        await direct.config_set("maxmemory", "1")
        await tier.invalidate(TAGS)
        assert await tier.lookup(KEY, TAGS) == (None, None)
        await asyncio.sleep(0.05)
        assert await tier.lookup(KEY, TAGS) == (None, None)
        await direct.config_set("maxmemory", "0")
        await ticket_of(tier)
        assert await found(tier) is None

    async def test_a_refused_store_is_no_error(self, tier_of, direct):
        tier = await tier_of()
        ticket = await ticket_of(tier)
        await direct.config_set("maxmemory", "1")
        tier.store(KEY, ticket, an_answer(), time.monotonic())
        assert await found(tier) is None


STORED = an_answer("a body of some length").encode(1e9)


class TestForeign:
    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"\n",
            b"nonsense",
            pytest.param(os.urandom(40), id="random"),
            b"[]\n",
            b"{}\nbody",
            b'[200,1,"x"]\nbody',
            b"[200,1,[[1,2]]]\nbody",
            b'[200,1,[["a"]]]\nbody',
            '[200,1,[["a","€"]]]\nbody'.encode(),
            b'[200,"1",[]]\nbody',
            b"[302,1,[]]\nbody",
            b"[200,1,[]]",
            pytest.param(b"[" * 100_000 + b"\n", id="brackets"),
            *(pytest.param(STORED[:length], id=f"{length} of {len(STORED)}") for length in (1, 20, 60, 74)),
        ],
    )
    async def test_what_cannot_be_read_is_absent_and_told(self, tier_of, direct, value):
        tier = await tier_of()
        await self.place(tier, direct, value)
        with capture_logs() as logs:
            ticket, stored = await tier.lookup(KEY, TAGS)
        assert (ticket is None, stored) == (False, None)
        assert [line["event"] for line in logs] == ["a stored answer cannot be read"]
        await put(tier, "again")

    async def test_a_body_that_ends_early_is_absent(self, tier_of, direct):
        tier = await tier_of()
        await self.place(tier, direct, STORED[:-1])
        assert await found(tier) is None

    async def test_what_carries_other_tokens_is_absent(self, tier_of, direct):
        tier = await tier_of()
        await put(tier)
        (name,) = await direct.keys("*answer:*")
        for value in (STORED, os.urandom(16) + STORED, b""):
            await direct.set(name, value)
            assert await found(tier) is None

    async def place(self, tier: RedisTier, direct: Redis, value: bytes) -> None:
        """Stores `value` where an answer would be, under the tokens in force."""
        ticket = await ticket_of(tier)
        tier.store(KEY, ticket, an_answer(), time.monotonic())
        assert await found(tier) == "old"
        (name,) = await direct.keys("*answer:*")
        await direct.set(name, ticket.tag_tokens + value)

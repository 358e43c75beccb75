"""The counters of failed sign-ins and of rate limits survive whatever strangers send."""

import asyncio
import threading

import httpx
import pytest

from conftest import client_of, running_app
from shop_api.security.passwords import MAX_WAITING
from shop_api.security.sign_in_delays import PAIR
from shop_api.security.turns import MAX_PER_CLIENT
from support.delays import FREE, MOST, before_a_delay
from support.factories import PASSWORD
from support.patience import PATIENCE

MIB = 2**20


@pytest.fixture
async def limited(engines, app):
    async with running_app(engines.model_copy(update={"rate_limits": "on"})) as app:
        yield app


@pytest.fixture
def attempt(client):
    async def fail(_: int) -> int:
        body = {"username": "ada", "password": "wrong password"}
        status: int = (await client.post("/auth", json=body)).status_code
        return status

    return fail


@pytest.fixture
async def client(limited):
    async with client_of(limited) as client:
        yield client


async def evicted(redis) -> int:
    return (await redis.info("stats"))["evicted_keys"]


async def test_delays_stay_when_the_cache_is_filled(attempt, shop):
    assert len(await before_a_delay(attempt)) <= MOST
    before = await evicted(shop.redis)
    for n in range(200):
        await shop.redis.set(f"junk-{n}", b"x" * MIB)
    assert await evicted(shop.redis) > before
    assert await evicted(shop.guards) == 0
    # The delay may have ended meanwhile, which lets some through; forgotten failures would let five and more.
    assert len(await before_a_delay(attempt)) < PAIR.free


async def test_they_are_on_a_server_that_evicts_nothing(shop):
    assert (await shop.guards.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
    assert (await shop.redis.config_get("maxmemory-policy"))["maxmemory-policy"] == "allkeys-lru"


async def test_when_that_is_full_each_instance_counts_on_its_own(attempt, shop):
    limit = (await shop.guards.config_get("maxmemory"))["maxmemory"]
    await shop.guards.config_set("maxmemory", 1)
    try:
        assert FREE <= len(await before_a_delay(attempt)) <= MOST
    finally:
        await shop.guards.config_set("maxmemory", limit)


async def test_with_one_redis_both_are_there(engines, app):
    one = engines.model_copy(update={"redis_guards_url": None})
    async with running_app(one) as app:
        services = app.state.services
        assert services.guards is services.redis


class TestHashes:
    """They take a core each for as long as they take, so one client has one at a time."""

    @pytest.fixture
    async def slow(self, limited, monkeypatch):
        """Each hash takes until `slow()` is called; the list has those under way."""
        passwords, at_work, done = limited.state.services.passwords._passwords, [], threading.Event()
        real = passwords._context.verify

        def verify(password, stored):
            at_work.append(password)
            done.wait(PATIENCE)
            return real(password, stored)

        monkeypatch.setattr(passwords._context, "verify", verify)
        yield at_work, done.set
        done.set()

    async def sign_in(self, app, address: str, password: str = PASSWORD) -> int:
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
            body = {"username": f"user-{address}", "password": password}
            return (await client.post("/auth", json=body)).status_code

    async def test_of_one_client_with_many_one_is_at_work_few_wait_and_the_others_are_refused(self, limited, slow):
        at_work, go_on = slow
        asked = [asyncio.create_task(self.sign_in(limited, "192.0.2.1", f"password {n}")) for n in range(12)]
        refused, _ = await until(asked, 12 - MAX_PER_CLIENT)
        assert {task.result() for task in refused} == {429}
        other = asyncio.create_task(self.sign_in(limited, "192.0.2.2", "of another client"))
        async with asyncio.timeout(PATIENCE):
            while "of another client" not in at_work:
                await asyncio.sleep(0.01)
        assert len(at_work) == 2
        go_on()
        assert await other == 401
        assert [await task for task in asked].count(401) == MAX_PER_CLIENT

    async def test_of_so_many_clients_the_last_are_refused_at_once(self, limited, slow):
        _, go_on = slow
        passwords = limited.state.services.passwords._passwords
        places = passwords._pool._max_workers + MAX_WAITING
        asked = [asyncio.create_task(self.sign_in(limited, f"192.0.2.{n}")) for n in range(places + 5)]
        refused, _ = await until(asked, 5)
        assert {task.result() for task in refused} == {429}
        go_on()
        assert sorted([await task for task in asked]) == [401] * places + [429] * 5

    async def test_who_was_refused_for_a_hash_has_guessed_nothing(self, limited, slow):
        _, go_on = slow
        asked = [asyncio.create_task(self.sign_in(limited, "192.0.2.1")) for _ in range(40)]
        await until(asked, 40 - MAX_PER_CLIENT)
        go_on()
        assert [await task for task in asked].count(401) == MAX_PER_CLIENT
        assert await self.sign_in(limited, "192.0.2.1") == 401


async def until(tasks, count: int):
    """Those of the tasks that are done once so many are."""
    async with asyncio.timeout(PATIENCE):
        while sum(task.done() for task in tasks) < count:
            await asyncio.sleep(0.01)
    return [task for task in tasks if task.done()], [task for task in tasks if not task.done()]

"""Growing delays: who has to wait, how long, and who has not."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from shop_api.kernel.errors import RateLimited
from shop_api.security.sign_in_delays import ACCOUNT, ADDRESS, PAIR, SignInDelays
from shop_api.storage.redis.client import Redis, connect

T = TypeVar("T")


@pytest.fixture
def redis(shop) -> Redis:
    return shop.redis


async def attempts(delays: SignInDelays, count: int, account: str = "ada", address: str = "192.0.2.1") -> list[int]:
    """How many seconds each attempt was told to wait; 0 for those that were let through."""
    waits = []
    for _ in range(count):
        try:
            await delays.attempt(account, address)
            waits.append(0)
        except RateLimited as refused:
            waits.append(refused.retry_after)
    return waits


async def in_time(measured: Callable[[int], Awaitable[T]], pauses: float = 0.0) -> T:
    """What it returns, beginning anew with another number until no wait of a second can have ended meanwhile."""
    for n in itertools.count():
        started = time.monotonic()
        result = await measured(n)
        if time.monotonic() - started < pauses + 0.9:
            break
    return result


@pytest.fixture(params=["shared", "own"])
async def delays(request, redis):
    """Through Redis, and without it."""
    if request.param == "shared":
        yield SignInDelays(redis)
    else:
        nowhere = connect("redis://127.0.0.1:1/0")
        yield SignInDelays(nowhere)
        await nowhere.aclose()


class TestPair:
    async def test_five_failures_are_free_then_the_wait_doubles(self, delays):
        pauses = {7: 0.0, 2: 1.05, 3: 2.05}

        async def waits(n: int) -> list[list[int]]:
            found = []
            for count, pause in pauses.items():
                await asyncio.sleep(pause)
                found.append(await attempts(delays, count, f"ada-{n}", f"192.0.2.{n}"))
            return found

        assert await in_time(waits, sum(pauses.values())) == [[0] * 6 + [1], [0, 2], [0, 4, 4]]

    async def test_a_victim_can_sign_in_from_elsewhere(self, delays):
        await attempts(delays, 20)
        assert await attempts(delays, 1, address="198.51.100.7") == [0]

    async def test_success_begins_anew(self, delays):
        await attempts(delays, 5)
        await delays.succeeded("ada", "192.0.2.1")
        assert await attempts(delays, 5) == [0] * 5

    async def test_of_a_hundred_at_once_six_pass(self, delays):
        async def waits(n: int) -> list[list[int]]:
            return await asyncio.gather(*(attempts(delays, 1, f"ada-{n}", f"192.0.2.{n}") for _ in range(100)))

        assert (await in_time(waits)).count([0]) == PAIR.free + 1


class TestAddress:
    async def test_many_accounts_from_one_address_have_to_wait(self, delays):
        async def waits(n: int) -> list[int]:
            users = (f"user-{n}-{user}" for user in range(ADDRESS.free + 3))
            return [(await attempts(delays, 1, user, f"192.0.2.{n}"))[0] for user in users]

        assert await in_time(waits) == [0] * (ADDRESS.free + 1) + [1, 1]

    async def test_those_who_know_their_passwords_do_not_count(self, delays):
        for n in range(ADDRESS.free * 2):
            assert await attempts(delays, 1, account=f"user-{n}") == [0]
            await delays.succeeded(f"user-{n}", "192.0.2.1")


class TestAccount:
    async def test_many_addresses_at_one_account_have_to_wait_but_not_one_it_knows(self, redis):
        delays = SignInDelays(redis)

        async def waits(n: int) -> list[int]:
            ada, home = f"ada-{n}", f"192.0.2.{n}"
            await delays.attempt(ada, home)
            await delays.succeeded(ada, home)
            others = (f"198.51.{n}.{address}" for address in range(ACCOUNT.free + 3))
            return [(await attempts(delays, 1, ada, address))[0] for address in [*others, home]]

        assert await in_time(waits) == [0] * (ACCOUNT.free + 1) + [1, 1] + [0]


class TestShared:
    async def test_two_instances_count_together(self, redis, engines):
        other = connect(engines.required()[1])
        one, two = SignInDelays(redis), SignInDelays(other)

        async def waits(n: int) -> list[int]:
            shares = ((one, 3), (two, 3), (one, 1), (two, 1))
            return [
                wait for each, count in shares for wait in await attempts(each, count, f"ada-{n}", f"192.0.2.{n}")
            ]

        assert await in_time(waits) == [0] * 6 + [1, 1]
        await other.aclose()

    async def test_names_and_addresses_are_stored_only_as_hashes(self, redis):
        delays = SignInDelays(redis)
        await attempts(delays, 1, account="ada-lovelace", address="192.0.2.1")
        await delays.succeeded("ada-lovelace", "192.0.2.1")
        keys = [key.decode() async for key in redis.scan_iter("delay:*")]
        assert keys
        for key in keys:
            assert "ada" not in key
            assert "192.0.2" not in key
            assert 0 < await redis.ttl(key) <= 30 * 86400

    async def test_switched_off_lets_everything_pass(self, redis):
        assert await attempts(SignInDelays(redis, enabled=False), 50) == [0] * 50


def test_no_wait_is_longer_than_what_is_remembered():
    for rule in (PAIR, ADDRESS, ACCOUNT):
        assert rule.longest < 3600

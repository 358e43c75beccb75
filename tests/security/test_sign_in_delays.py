"""Growing delays: who has to wait, how long, and who has not."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from shop_api.kernel.errors import RateLimited
from shop_api.security.sign_in_delays import ACCOUNT, ADDRESS, NEW_ADDRESS, PAIR, SignInDelays
from shop_api.storage.redis.client import Redis, connect

T = TypeVar("T")
HOME = "192.0.2.1"


@pytest.fixture
def redis(shop) -> Redis:
    return shop.guards


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
    """Many addresses at one account."""

    @pytest.fixture
    async def under_attack(self, delays):
        """An account that an address already knows, and that has failed from others."""
        await delays.attempt("ada", HOME)
        await delays.succeeded("ada", HOME)
        for n in range(ACCOUNT.free):
            assert await attempts(delays, 1, address=f"198.51.100.{n}") == [0]
        return delays

    async def test_an_address_that_is_new_to_it_has_one_attempt_an_hour_then_fewer(self, under_attack):
        [first, second] = await attempts(under_attack, 2, address="203.0.113.1")
        assert first == 0
        assert 3500 < second <= 3600

    async def test_its_owner_signs_in_at_the_first_attempt_from_an_address_never_seen_before(self, under_attack):
        for n in range(200):
            for _ in range(5):
                await attempts(under_attack, 1, address=f"203.0.{n}.1")
        assert await attempts(under_attack, 1, address="192.0.2.99") == [0]
        await under_attack.succeeded("ada", "192.0.2.99")
        assert await attempts(under_attack, PAIR.free, address="192.0.2.99") == [0] * PAIR.free

    async def test_an_address_that_it_knows_is_as_free_as_ever(self, under_attack):
        async def waits(n: int) -> list[int]:
            await under_attack.succeeded("ada", f"192.0.2.{n}")
            return await attempts(under_attack, PAIR.free + 2, address=f"192.0.2.{n}")

        assert await in_time(waits) == [0] * (PAIR.free + 1) + [1]

    async def test_so_many_addresses_that_each_makes_one_attempt_have_to_wait_for_each_other(self, delays):
        waits = [(await attempts(delays, 1, address=f"10.{n // 250}.{n % 250}.1"))[0] for n in range(1002)]
        assert waits[: ACCOUNT.capacity] == [0] * ACCOUNT.capacity
        assert all(0 < wait <= 2 * 86_400 / ACCOUNT.leak_per_day for wait in waits[ACCOUNT.capacity :])

    async def test_who_is_known_takes_no_failure_of_others_back(self, under_attack):
        for _ in range(ACCOUNT.free * 2):
            await under_attack.attempt("ada", HOME)
            await under_attack.succeeded("ada", HOME)
            await under_attack.trust("ada", HOME)
        assert (await attempts(under_attack, 2, address="203.0.113.1"))[1] > 3500

    async def test_other_accounts_are_not_concerned(self, under_attack):
        assert await attempts(under_attack, PAIR.free, account="bob") == [0] * PAIR.free


def guesses_in_a_day(networks: int) -> int:
    """How many passwords of one account that many addresses can try in the first day, each as early as it may."""
    tried, level, counted_at = 0, 0.0, 0.0
    failures = [0] * networks
    ready = [(0.0, network) for network in range(networks)]
    while counted_at < 86_400 and ready[0][0] < 86_400:
        at, network = heapq.heappop(ready)
        at = max(at, counted_at)  # what comes first may have waited for the account
        level = max(0.0, level - (at - counted_at) * ACCOUNT.leak)
        at += max(0.0, level + 1 - ACCOUNT.capacity) / ACCOUNT.leak
        level = min(level, ACCOUNT.capacity - 1)
        rule = NEW_ADDRESS if level + 1 > ACCOUNT.free else PAIR
        failures[network] += 1
        tried, level, counted_at = tried + 1, level + 1, at
        heapq.heappush(ready, (at + rule.delay(failures[network]), network))
    return tried


@pytest.mark.parametrize("networks", [1, 2, 22, 200, 500, 2000, 20_000])
def test_guessing_costs_more_than_before(networks: int):
    """Before, failures above a hundred had to wait for each other for up to a minute, and for one address up to a
    quarter of an hour."""
    of_one, of_an_account = 5 + 10 + (86_400 - 1023) // 900, 100 + 6 + (86_400 - 63) // 60
    assert guesses_in_a_day(networks) < min(networks * of_one, of_an_account)


class TestGuarded:
    async def test_what_guessed_nothing_does_not_count(self, delays):
        async def fail() -> bool:
            raise RateLimited(1)

        for _ in range(PAIR.free * 3):
            with pytest.raises(RateLimited) as refused:
                await delays.guarded("ada", HOME, fail)
            assert refused.value.retry_after == 1
        assert await attempts(delays, PAIR.free) == [0] * PAIR.free

    async def test_a_false_result_counts_and_a_true_one_does_not(self, delays):
        async def waits(n: int) -> int:
            name = f"ada-{n}"
            for right in [False] * PAIR.free + [True] + [False] * (PAIR.free + 1):
                await delays.guarded(name, HOME, lambda right=right: asyncio.sleep(0, right))
            return (await attempts(delays, 1, name, HOME))[0]

        assert await in_time(waits) == 1


class TestShared:
    async def test_two_instances_count_together(self, redis, engines):
        other = connect(engines.guards_url.get_secret_value())
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
        keys = [key.decode() async for key in redis.scan_iter("{delay}:*")]
        assert keys
        for key in keys:
            assert "ada" not in key
            assert "192.0.2" not in key
            assert 0 < await redis.ttl(key) <= 30 * 86400

    async def test_an_attempt_and_its_success_are_one_round_trip_each(self, redis, monkeypatch):
        delays, sent, send = SignInDelays(redis), [], redis.execute_command

        def counted(*command, **options):
            sent.append(command[0])
            return send(*command, **options)

        await delays.guarded("ada", HOME, lambda: asyncio.sleep(0, True))  # loads the scripts
        monkeypatch.setattr(redis, "execute_command", counted)
        await delays.guarded("ada", HOME, lambda: asyncio.sleep(0, True))
        assert sent == ["EVALSHA", "EVALSHA"]

    async def test_switched_off_lets_everything_pass(self, redis):
        assert await attempts(SignInDelays(redis, enabled=False), 50) == [0] * 50


def test_no_wait_is_longer_than_what_is_remembered():
    for rule in (PAIR, ADDRESS, NEW_ADDRESS):
        assert rule.longest < rule.memory

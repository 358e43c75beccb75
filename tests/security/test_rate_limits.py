"""Limits on attempts, with a real Redis that is stopped, killed and started again."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.commands.core import AsyncScript

from shop_api import embedded
from shop_api.embedded.child import child
from shop_api.kernel.errors import RateLimited
from shop_api.security.rate_limits import RateLimits, _Storage
from shop_api.storage.redis.client import Redis, RedisError, connect
from support.own_time import own_time
from support.patience import PATIENCE, patient
from support.pids import stop

# So long that no window ends within a test.
FIVE = "5 per 100 days"


async def refused(limits: RateLimits, *identity: str, limit: str = FIVE) -> int | None:
    """The seconds to wait, None when the attempt may go on."""
    try:
        await limits.hit(limit, *identity)
    except RateLimited as error:
        return error.retry_after
    return None


async def allowed(limits: RateLimits, attempts: int, *identity: str) -> int:
    """How many of so many attempts at once may go on."""
    answers = await asyncio.gather(*(refused(limits, *identity) for _ in range(attempts)))
    return answers.count(None)


class Counted:
    """A limiter in whose place it stands, and how many attempts it was asked to count."""

    def __init__(self, limiter: SlidingWindowCounterRateLimiter) -> None:
        self._limiter = limiter
        self.asked = 0

    async def hit(self, *attempt: Any) -> bool:
        self.asked += 1
        return await self._limiter.hit(*attempt)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._limiter, name)


def counted(limits: RateLimits) -> Counted:
    """The part of `limits` that asks Redis, whose questions are counted from now on."""
    counting: Any = Counted(limits._shared)
    limits._shared = counting
    return counting


@pytest.fixture
def long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is left alone, after it failed, for longer than any test takes."""
    monkeypatch.setattr("shop_api.storage.redis.fallback._PAUSE", 3600.0)


class OwnRedis:
    """A Redis of one test's own, to be stopped, killed and started again at the same address."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.url = stack.enter_context(embedded.redis.running(folder))

    async def observe(self) -> None:
        async with aclosing(Redis.from_url(self.url)) as client:
            info = await client.info("server")
        self.pid, self._program, self._port = info["process_id"], info["executable"], info["tcp_port"]

    def signal(self, signum: signal.Signals) -> None:
        os.kill(self.pid, signum)

    async def start_again(self) -> None:
        command = [self._program, "--bind", "127.0.0.1", "--port", str(self._port), "--dir", self._folder / "redis"]
        self.pid = self._stack.enter_context(child(command, self._folder / "again.log")).pid
        async with aclosing(connect(self.url)) as client, asyncio.timeout(PATIENCE):
            while True:
                try:
                    await client.ping()
                    return
                except RedisError:
                    await asyncio.sleep(0.02)


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[OwnRedis]:
    with ExitStack() as stack:
        redis = OwnRedis(tmp_path, stack)
        await redis.observe()
        yield redis
        redis.signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded.redis.running(tmp_path_factory.mktemp("redis")) as url:
        yield patient(url)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with aclosing(connect(redis_url)) as client:
        await client.flushdb()
        yield client


class TestLibrary:
    """What is relied on of the insides of limits."""

    async def test_asks_no_other_client_than_the_one_it_was_given(self, redis):
        bridge = _Storage(redis).bridge
        assert isinstance(bridge, RedispyBridge)
        assert bridge.get_connection() is bridge.get_connection(readonly=True) is redis
        clients = [value for value in vars(bridge).values() if isinstance(value, Redis)]
        scripts = [value for value in vars(bridge).values() if isinstance(value, AsyncScript)]
        assert clients == [redis]
        assert scripts
        assert all(script.registered_client is redis for script in scripts)


class TestShared:
    async def test_as_many_attempts_pass_as_the_limit_says(self, redis):
        limits = RateLimits(redis)
        assert [await refused(limits, "ada") is None for _ in range(8)] == [True] * 5 + [False] * 3

    async def test_of_many_attempts_at_once_exactly_as_many_pass(self, redis):
        assert await allowed(RateLimits(redis), 100, "ada") == 5

    async def test_two_instances_count_together(self, redis, redis_url):
        async with aclosing(connect(redis_url)) as other:
            one, two = RateLimits(redis), RateLimits(other)
            passed = await asyncio.gather(*(allowed(limits, 20, "ada") for limits in (one, two) * 3))
        assert sum(passed) == 5
        assert one.fallbacks == two.fallbacks == 0

    async def test_each_identity_and_each_limit_is_counted_for_itself(self, redis):
        limits = RateLimits(redis)
        assert await allowed(limits, 6, "ada") == 5
        assert await allowed(limits, 6, "bob") == 5
        assert await refused(limits, "ada", limit="6 per 100 days") is None

    async def test_parts_of_an_identity_do_not_run_into_each_other(self, redis):
        limits = RateLimits(redis)
        for identity in (("a", "bc"), ("ab", "c"), ("abc",), ("abc", "")):
            assert await allowed(limits, 6, *identity) == 5

    async def test_disabled_limits_let_everything_pass_and_store_nothing(self, redis):
        assert await allowed(RateLimits(redis, enabled=False), 50, "ada") == 50
        assert await redis.dbsize() == 0

    async def test_who_waits_as_long_as_told_may_try_again(self, redis):
        limits, limit = RateLimits(redis), "4 per 2 seconds"
        for n in itertools.count():
            started = time.monotonic()
            waits = [await refused(limits, f"ada-{n}", limit=limit) for _ in range(5)]
            if time.monotonic() - started < 1:  # else the window may have passed meanwhile, which shows nothing
                break
        assert waits[:4] == [None] * 4
        assert waits[4] in (2, 3)
        await asyncio.sleep(waits[4])
        assert await refused(limits, f"ada-{n}", limit=limit) is None

    async def test_the_wait_is_whole_seconds_within_the_window(self, redis):
        limits = RateLimits(redis)
        waits = [await refused(limits, "ada", limit="10 per 5 minutes") for _ in range(12)][10:]
        assert all(isinstance(wait, int) and 290 <= wait <= 301 for wait in waits)

    async def test_nothing_stored_names_anybody(self, redis):
        limits = RateLimits(redis)
        await refused(limits, "sign-in account", "ada.lovelace")
        await refused(limits, "sign-in address", "203.0.113.7")
        keys = [key async for key in redis.scan_iter()]
        stored = b" ".join([*keys, *[await redis.dump(key) or b"" for key in keys]])
        assert len(keys) == 2
        assert all(word not in stored for word in (b"ada", b"lovelace", b"203.0", b"account", b"address"))
        assert all(0 < ttl <= 200 * 86_400 for ttl in [await redis.ttl(key) for key in keys])

    async def test_any_text_identifies_somebody(self, redis):
        limits = RateLimits(redis)
        for identity in ("", "\0", "\ud800", "ä" * 10_000, "{}:*\n"):
            assert await allowed(limits, 6, identity) == 5


@pytest.mark.usefixtures("quick_redis")
class TestRedisGone:
    @pytest.mark.usefixtures("long_pause")
    async def test_each_process_counts_for_itself(self, own_redis):
        async with aclosing(connect(patient(own_redis.url))) as one, aclosing(connect(patient(own_redis.url))) as two:
            first, second = RateLimits(one), RateLimits(two)
            assert await allowed(first, 6, "ada") == 5
            own_redis.signal(signal.SIGKILL)
            questions = counted(first)
            async with asyncio.timeout(PATIENCE):
                assert [await allowed(limits, 30, "ada") for limits in (first, second)] == [5, 5]
                assert questions.asked == 30  # none of which knew yet
                assert await allowed(first, 30, "bob") == 5
            assert questions.asked == 30
            assert (first.fallbacks, second.fallbacks) == (60, 30)

    async def test_a_redis_that_never_was_is_no_error(self):
        async with aclosing(connect("redis://127.0.0.1:1/0")) as nowhere:
            limits = RateLimits(nowhere)
            assert await allowed(limits, 6, "ada") == 5
            wait = await refused(limits, "ada")
            assert wait is not None
            assert 1 <= wait <= 100 * 86_400
            assert limits.fallbacks == 7

    async def test_counts_are_shared_again_once_it_is_back(self, own_redis):
        async with aclosing(connect(patient(own_redis.url))) as client:
            limits = RateLimits(client)
            await limits.hit(FIVE, "ada")
            own_redis.signal(signal.SIGKILL)
            await limits.hit(FIVE, "ada")
            assert limits.fallbacks == 1
            await own_redis.start_again()
            await asyncio.sleep(2.1)  # it is left alone for as long
            await client.flushdb()
            # One attempt finds out; the others do not wait for it, and are counted by this process.
            assert await allowed(limits, 20, "bob") == 5 + 1
            assert limits.fallbacks == 1 + 19
            assert await allowed(limits, 20, "cyd") == 5
            assert await client.dbsize() == 2

    async def test_a_redis_that_refuses_commands_is_no_error(self, own_redis):
        async with aclosing(connect(patient(own_redis.url))) as client:
            await client.config_set("maxmemory", 1)
            limits = RateLimits(client)
            assert await allowed(limits, 20, "ada") == 5
            assert limits.fallbacks == 20


@pytest.mark.usefixtures("quick_redis")
class TestRedisHangs:
    @pytest.mark.usefixtures("long_pause")
    async def test_attempts_wait_once_and_then_only_one_finds_out_whether_it_is_back(self, own_redis):
        async with aclosing(connect(own_redis.url)) as client, asyncio.timeout(PATIENCE):
            limits = RateLimits(client)
            await limits.hit(FIVE, "somebody")
            questions = counted(limits)
            stop(own_redis.pid)
            async with own_time() as waiting:
                assert await allowed(limits, 100, "ada") == 5
            assert waiting.seconds < 4
            assert questions.asked == 100
            assert await allowed(limits, 100, "bob") == 5
            assert (questions.asked, limits.fallbacks) == (100, 200)
            limits._counts._again_at = time.monotonic()  # the pause is over
            await asyncio.gather(*(limits.hit("99 per day", str(n)) for n in range(50)))
            assert questions.asked == 101

    async def test_a_command_that_timed_out_was_sent_once(self, own_redis):
        async with aclosing(connect(own_redis.url)) as client:
            await client.incr("counter")
            stop(own_redis.pid)
            with pytest.raises(RedisError):
                await client.incr("counter")
            own_redis.signal(signal.SIGCONT)
            await asyncio.sleep(0.2)
            assert int(await client.get("counter") or 0) == 2

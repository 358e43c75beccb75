"""Going on without Redis, with one that fails and comes back as the test wants."""

import asyncio

import pytest

from shop_api.storage.redis import fallback
from shop_api.storage.redis.client import RedisError
from shop_api.storage.redis.fallback import RedisWithFallback


class Asked:
    """Answers 1 unless it fails, and counts how often it was asked."""

    def __init__(self) -> None:
        self.fails = False
        self.times = 0

    async def __call__(self) -> int:
        self.times += 1
        if self.fails:
            raise RedisError("down")
        await asyncio.sleep(0)
        return 1


async def test_gives_the_answer():
    shared, asked = RedisWithFallback("counts"), Asked()
    assert await shared.call(asked) == 1
    assert shared.fallbacks == 0


async def test_after_a_failure_nobody_asks_for_a_while():
    shared, asked = RedisWithFallback("counts"), Asked()
    asked.fails = True
    assert [await shared.call(asked) for _ in range(10)] == [None] * 10
    assert (asked.times, shared.fallbacks) == (1, 10)


async def test_then_one_finds_out_whether_it_is_back(monkeypatch: pytest.MonkeyPatch):
    shared, asked = RedisWithFallback("counts"), Asked()
    asked.fails = True
    monkeypatch.setattr(fallback, "_PAUSE", 0.0)
    assert await shared.call(asked) is None
    monkeypatch.setattr(fallback, "_PAUSE", 1000.0)
    asked.fails = False
    assert await asyncio.gather(*(shared.call(asked) for _ in range(10))) == [1] + [None] * 9
    assert await shared.call(asked) == 1


async def test_no_answer_in_time_is_a_failure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fallback, "_MAX_SECONDS", 0.01)
    shared = RedisWithFallback("counts")
    assert await shared.call(asyncio.Event().wait) is None
    assert shared.fallbacks == 1


async def test_what_is_no_failure_of_redis_is_not_hidden():
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await RedisWithFallback("counts").call(broken)

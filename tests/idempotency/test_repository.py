"""Claims on idempotency keys, on both drivers. (Over HTTP: tests/test_contract.py.)"""

import asyncio
from datetime import timedelta

import pytest

from shop_api.clock import utc_now
from shop_api.errors import IdempotencyInProgress, IdempotencyKeyReused
from shop_api.idempotency.repository import KEPT, Answer, IdempotencyKeys

ANSWER = Answer(201, {"location": "/products/a"}, b'{"a": 1}')


class Clock:
    def __init__(self):
        self.now = utc_now()

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def keys(database, clock):
    keys = IdempotencyKeys(database, clock)
    await keys.prepare()
    return keys


async def test_of_20_claims_at_once_one_is_granted(keys):
    claims = await asyncio.gather(*(keys.claim("k", "request") for _ in range(20)), return_exceptions=True)
    assert sorted(type(claim).__name__ for claim in claims) == ["IdempotencyInProgress"] * 19 + ["NoneType"]


async def test_a_stored_answer_is_given_again(keys):
    await keys.claim("k", "request")
    await keys.store("k", ANSWER)
    assert await keys.claim("k", "request") == ANSWER


async def test_another_request_is_refused(keys):
    await keys.claim("k", "request")
    with pytest.raises(IdempotencyKeyReused):
        await keys.claim("k", "another request")


async def test_a_released_claim_can_be_made_again(keys):
    await keys.claim("k", "request")
    await keys.release("k")
    assert await keys.claim("k", "another request") is None


async def test_a_claim_whose_request_died_is_taken_over_by_one(keys, clock):
    await keys.claim("k", "request")
    clock.now += timedelta(seconds=59)
    with pytest.raises(IdempotencyInProgress):
        await keys.claim("k", "request")
    clock.now += timedelta(seconds=2)
    claims = await asyncio.gather(*(keys.claim("k", "request") for _ in range(20)), return_exceptions=True)
    assert sorted(type(claim).__name__ for claim in claims) == ["IdempotencyInProgress"] * 19 + ["NoneType"]


async def test_after_a_day_a_key_is_new(keys, clock):
    await keys.claim("k", "request")
    await keys.store("k", ANSWER)
    clock.now += KEPT + timedelta(seconds=1)
    assert await keys.claim("k", "another request") is None

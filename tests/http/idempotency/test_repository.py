"""Claims on idempotency keys, on both drivers. (Over HTTP: tests/test_contract.py.)"""

import asyncio
import itertools
from datetime import timedelta

import pytest

from shop_api.http.idempotency.errors import IdempotencyInProgress, IdempotencyKeyReused
from shop_api.http.idempotency.repository import IDEMPOTENCY_KEYS, KEPT, LEASE, Claim, IdempotencyKeys, StoredResponse
from shop_api.kernel.clock import utc_now
from shop_api.storage.mongo.collections import ensure_collection

ANSWER = StoredResponse(201, {"location": "/products/a"}, b'{"a": 1}')


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
    await ensure_collection(database, IDEMPOTENCY_KEYS)
    return keys


_attempts = (f"attempt {n}" for n in itertools.count())


def claimed(keys, request="request", attempt=None):
    """A claim on one and the same key, by default in an attempt of its own."""
    return keys.claim("k", request, attempt or next(_attempts))


async def outcomes(*claims):
    return sorted(type(claim).__name__ for claim in await asyncio.gather(*claims, return_exceptions=True))


async def test_of_20_claims_at_once_one_is_granted(keys):
    assert await outcomes(*(claimed(keys) for _ in range(20))) == ["Claim"] + ["IdempotencyInProgress"] * 19


async def test_a_stored_answer_is_given_again(keys):
    await keys.store(await claimed(keys), ANSWER)
    assert await claimed(keys) == ANSWER


async def test_another_request_is_refused(keys):
    await claimed(keys)
    with pytest.raises(IdempotencyKeyReused):
        await claimed(keys, "another request")


async def test_after_a_request_that_had_no_effect_the_key_is_free_for_another(keys):
    await keys.release(await claimed(keys), undone=True)
    assert (await claimed(keys, "another request")).is_first


async def test_after_one_that_may_have_had_an_effect_it_is_tried_again_under_the_same_name(keys):
    first = await claimed(keys)
    await keys.release(first, undone=False)
    with pytest.raises(IdempotencyKeyReused):
        await claimed(keys, "another request")
    again = await claimed(keys)
    assert (again.new_id, again.is_first) == (first.new_id, False)


async def test_what_an_attempt_before_may_have_done_is_not_forgotten_when_this_one_had_no_effect(keys):
    first = await claimed(keys)
    await keys.release(first, undone=False)
    await keys.release(await claimed(keys), undone=True)
    assert (await claimed(keys)).new_id == first.new_id


async def test_a_claim_whose_request_died_is_taken_over_by_one(keys, clock):
    first = await claimed(keys)
    clock.now += LEASE - timedelta(seconds=1)
    with pytest.raises(IdempotencyInProgress):
        await claimed(keys)
    clock.now += timedelta(seconds=2)
    claims = await asyncio.gather(*(claimed(keys) for _ in range(20)), return_exceptions=True)
    assert [claim.new_id for claim in claims if isinstance(claim, Claim)] == [first.new_id]
    assert sum(isinstance(claim, IdempotencyInProgress) for claim in claims) == 19


async def test_the_same_attempt_passed_on_by_a_proxy_does_not_wait(keys):
    first = await claimed(keys, attempt="a")
    assert (await claimed(keys, attempt="a")).new_id == first.new_id


async def test_who_was_overtaken_does_not_give_up_the_claim_of_who_overtook(keys, clock):
    slow = await claimed(keys)
    clock.now += LEASE + timedelta(seconds=1)
    await claimed(keys)
    await keys.release(slow, undone=True)
    with pytest.raises(IdempotencyInProgress):
        await claimed(keys)


async def test_after_a_day_a_key_is_new(keys, clock):
    first = await claimed(keys)
    await keys.store(first, ANSWER)
    clock.now += KEPT + timedelta(seconds=1)
    assert (await claimed(keys, "another request")).new_id != first.new_id

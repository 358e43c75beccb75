"""The promises of the cache, under load and faults; and that this check finds a cache that does not keep them.

`make soak` runs it for ten minutes; `make mutants` has all broken ones, the suite the one that is found soonest.
"""

import asyncio
import os
import uuid
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cache.history import Cluster, History, cluster, play
from shop_api.cache.cache import HttpCache
from shop_api.cache.redis import RedisTier
from shop_api.features.products.cache_tags import product_tags
from shop_api.features.products.models import Product
from shop_api.features.products.repository import ProductRepository
from shop_api.kernel.batching import Batcher
from shop_api.settings import Settings
from shop_api.storage.mongo.client import Session

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("SOAK_SECONDS", "9"))
# On a busy machine, faults follow each other so closely that in a few seconds little is read from Redis.
FROM_REDIS = SECONDS if SECONDS >= 60 else 2
SEED = int(os.environ.get("SOAK_SEED", "7"))
ABSOLUTE_LIFETIME = 120.0
"""That a broken cache may take to be found."""


@pytest.fixture
def settings(engines: Settings) -> Settings:
    return engines.model_copy(update={"mongo_db": f"test-{uuid.uuid4().hex[:12]}"})


async def test_every_read_keeps_the_promises(settings: Settings, tmp_path: Path):
    async with cluster(settings, tmp_path) as three:
        used = [instance.app.state.services.cache.counters for instance in three.instances]

        def enough(history: History) -> bool:
            """Both tiers were tested, and there was something to read anew."""
            memory_hits = sum(counters.memory_hits for counters in used)
            redis_hits = sum(counters.redis_hits for counters in used)
            return history.writes > 3 * SECONDS and memory_hits > history.requests / 10 and redis_hits >= FROM_REDIS

        history, faults = await play(three, SECONDS, SEED, enough=enough)
    print(f"\n{history.requests} requests, {history.writes} writes, faults: {dict(faults.happened)}")
    for counters in used:
        print(counters)
    assert history.violations == []
    assert enough(history)


class Unfenced(HttpCache):
    """Does not mind that what it reads was changed meanwhile."""

    def forget(self, tags: Collection[str]) -> None:
        self.memory.invalidate(tags)


class Silent:
    async def invalidate(self, tags: Collection[str]) -> None:
        pass


class Hasty(ProductRepository):
    """Invalidates before the change instead of after it."""

    cache: HttpCache

    async def replace(self, product: Product, session: Session | None = None) -> bool:
        await self.cache.invalidate(product_tags(product.product_id))
        return await super().replace(product, session)


class Credulous(RedisTier):
    """Goes on trusting what it trusted, whatever happened."""

    def distrust(self, reason: str) -> None:
        if not self._trusted:
            super().distrust(reason)


class Early(Batcher[Any, Any]):
    """Answers from a batch that began before the call, for a twentieth of a second after its end too."""

    def __init__(self, like: Batcher[Any, Any]) -> None:
        self.__dict__.update(like.__dict__)
        self._asked: dict[Any, asyncio.Future[Any]] = {}

    async def __call__(self, argument: Any) -> Any:
        if argument not in self._asked:
            self._asked[argument] = asyncio.ensure_future(super().__call__(argument))
            forget = partial(asyncio.get_running_loop().call_later, 0.05, self._asked.pop, argument)
            self._asked[argument].add_done_callback(lambda _: forget())
        return await asyncio.shield(self._asked[argument])


def unfenced(three: Cluster) -> None:
    for instance in three.instances:
        instance.app.state.services.cache.__class__ = Unfenced


def hasty(three: Cluster) -> None:
    for instance in three.instances:
        shop = instance.app.state.services
        shop.products._products.__class__ = Hasty
        shop.products._products.cache, shop.products._cache = shop.cache, Silent()


def credulous(three: Cluster) -> None:
    for instance in three.instances:
        instance.app.state.services.cache.redis.__class__ = Credulous


def early(three: Cluster) -> None:
    for instance in three.instances:
        by_id = instance.app.state.services.products._products._by_id
        by_id._reads = Early(by_id._reads)


@pytest.mark.parametrize(
    ("broken", "by"),
    [
        pytest.param(unfenced, (), marks=pytest.mark.campaign, id="unfenced"),
        pytest.param(hasty, (), marks=pytest.mark.campaign, id="hasty"),
        pytest.param(early, (), marks=pytest.mark.campaign, id="early"),
        pytest.param(credulous, {"redis_comes_back_with_old_data", "a_wire_is_cut"}, id="credulous"),
    ],
)
async def test_a_cache_that_breaks_them_is_found(
    settings: Settings, tmp_path: Path, broken: Callable[[Cluster], None], by: Collection[str]
):
    async with cluster(settings, tmp_path) as three:
        broken(three)
        history, faults = await play(three, ABSOLUTE_LIFETIME, SEED, by)
    print(f"\n{history.requests} requests, {history.writes} writes, faults: {dict(faults.happened)}")
    print(history.violations[:3])
    assert history.violations
    assert all(violation.startswith("promise") for violation in history.violations)

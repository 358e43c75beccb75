"""Redis with Sentinels, whose primary is killed or hangs while three instances are at work.

`make chaos` does it ten times.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cache.history import Clients, Cluster, Instance
from conftest import running_app
from shop_api.features.users.repository import UserRepository
from shop_api.kernel import tasks
from shop_api.kernel.clock import utc_now
from shop_api.security.rate_limits import RateLimits
from shop_api.security.tokens import AccessTokens
from shop_api.settings import Settings
from shop_api.storage.redis.client import connect
from support.factories import TEST_SECRET, a_user
from support.faults import RedisServer
from support.own_time import OwnTime, own_time
from support.redis_servers import Watched, until, watched

pytestmark = [pytest.mark.campaign, pytest.mark.usefixtures("quick_redis")]
FAILOVERS = int(os.environ.get("CHAOS_FAILOVERS", "2"))
ABSOLUTE_LIFETIME = 5.0
"""Seconds of this process that an answer may take."""
RECOVERY = 2.0
"""Seconds of this process after the election in which Redis has to be in use again."""


@asynccontextmanager
async def instances_on(settings: Settings) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        apps = [await stack.enter_async_context(running_app(settings)) for _ in range(3)]
        shop = apps[0].state.services
        user = a_user("root", "admin")
        await UserRepository(shop.database).add(user)
        token = AccessTokens(TEST_SECRET.encode(), utc_now).issue(user.id, user.sessions[0])
        none: Any = None  # they share what they run on, and nothing of it is broken through these
        yield Cluster([Instance(app, none, none) for app in apps], none, token)
        await shop.database.client.drop_database(settings.mongo_db)


class Limited:
    """Somebody who is counted all the time, and how long that took."""

    def __init__(self, limits: RateLimits, clock: OwnTime) -> None:
        self._limits, self._clock = limits, clock
        self.slowest = 0.0
        self.counted_at = 0.0
        """When Redis was last used for it."""

    async def run(self) -> None:
        while True:
            started, fallbacks = self._clock.seconds, self._limits.fallbacks
            await self._limits.hit("100000 per minute", "somebody")
            self.slowest = max(self.slowest, self._clock.seconds - started)
            if self._limits.fallbacks == fallbacks:
                self.counted_at = self._clock.seconds
            await asyncio.sleep(0.02)


class Failovers:
    """Takes the primary away, again and again, and gives it back as a replica."""

    def __init__(self, group: Watched, cluster: Cluster, limited: Limited, clock: OwnTime) -> None:
        self._group, self._limited, self._clock = group, limited, clock
        self._tiers = [instance.app.state.services.cache.redis for instance in cluster.instances]
        self.recoveries: list[float] = []
        """How many seconds after each election the cache and the limits used Redis again."""

    async def run(self, count: int) -> None:
        for number in range(count):
            old = self._group.primary
            assert old
            old.kill() if number % 2 == 0 else old.freeze()
            await asyncio.to_thread(self._group.elect_another_than, old)
            await self._recovered(self._clock.seconds)
            old.start() if number % 2 == 0 else old.thaw()
            await self._hold(old)

    async def _recovered(self, elected: float) -> None:
        while not all(tier._trusted for tier in self._tiers) or self._limited.counted_at < elected:
            assert self._clock.seconds < elected + 10
            await asyncio.sleep(0.005)
        self.recoveries.append(self._clock.seconds - elected)

    async def _hold(self, old: RedisServer) -> None:
        """The one that is back is believed by nobody, neither before it knows that it is a replica nor after."""
        await asyncio.to_thread(until, lambda: self._group.is_whole)
        addresses = {tier._connection.port for tier in self._tiers}
        assert old.port not in addresses
        await asyncio.sleep(0.3)


@pytest.fixture
async def settings(engines: Settings) -> Settings:
    return engines.model_copy(update={"mongo_db": f"test-{uuid.uuid4().hex[:12]}"})


async def test_a_failover_costs_no_answer_and_breaks_no_promise(settings: Settings, tmp_path: Path):
    with watched(tmp_path) as group:
        own = Settings.model_validate({**settings.model_dump(), "redis_url": group.url})
        async with instances_on(own) as cluster, connect(group.url) as redis, own_time() as clock:
            limited = Limited(RateLimits(redis), clock)
            clients, failovers = Clients(cluster, seed=7), Failovers(group, cluster, limited, clock)
            load = asyncio.create_task(clients.run(3600))
            counting = asyncio.create_task(limited.run())
            try:
                await asyncio.sleep(1)
                await failovers.run(FAILOVERS)
            finally:
                clients.end()
                await tasks.end([counting])
                history = await load
    recoveries = [round(seconds, 2) for seconds in failovers.recoveries]
    print(
        f"\n{history.reads} reads, {history.writes} writes, slowest {history.slowest:.2f} s, recoveries {recoveries}"
    )
    assert history.violations == []
    assert history.slowest < ABSOLUTE_LIFETIME
    assert limited.slowest < ABSOLUTE_LIFETIME
    assert len(recoveries) == FAILOVERS
    assert max(recoveries) < RECOVERY
    hits = sum(instance.app.state.services.cache.counters.redis_hits for instance in cluster.instances)
    assert hits > 0  # or the Redis tier was not tested

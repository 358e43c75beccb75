"""A history of reads and writes over several instances, checked against what the cache promises:

1. the instance that acknowledged a write never serves an older version afterwards;
2. any other serves one for at most a second after the acknowledgement;
5. whatever happens to Redis, nobody gets an error.
"""

import asyncio
import bisect
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from fastapi import FastAPI

from conftest import client_of, running_app
from shop_api.features.users.repository import UserRepository
from shop_api.kernel import tasks
from shop_api.kernel.clock import utc_now
from shop_api.security.tokens import AccessTokens
from shop_api.settings import Settings
from support.factories import TEST_SECRET, a_product, a_user
from support.faults import RedisServer, Wire
from support.own_time import OwnTime, own_time
from support.patience import PATIENCE

KEYS = [f"key-{n}" for n in range(20)]
CLIENTS = 8
BOUND = 1.0
FOLLOWING = (b"$changeStream", b"getMore")


class Instance:
    def __init__(self, app: FastAPI, redis: Wire, mongo: Wire) -> None:
        self.app, self.redis, self.mongo = app, redis, mongo
        self.acknowledged: dict[str, int] = defaultdict(int)
        """The newest version of each key that this instance has acknowledged."""


class Cluster:
    """Three instances on one database and one Redis, each with wires of its own."""

    def __init__(self, instances: Sequence[Instance], redis: RedisServer, token: str) -> None:
        self.instances, self.redis, self.token = instances, redis, token


@asynccontextmanager
async def cluster(settings: Settings, folder: Path, size: int = 3) -> AsyncIterator[Cluster]:
    """`settings` name the database, which is to be empty."""
    redis = RedisServer(folder)
    redis.start()
    async with AsyncExitStack() as stack:
        stack.callback(redis.stop)
        mongo_port = urlsplit(settings.required()[0]).port or 27017
        instances = []
        for _ in range(size):
            wires = Wire(redis.port), Wire(mongo_port)
            ports = [stack.enter_context(wire.open()) for wire in wires]
            urls = f"redis://127.0.0.1:{ports[0]}/0", f"mongodb://127.0.0.1:{ports[1]}/?directConnection=true"
            own = Settings.model_validate({**settings.model_dump(), "redis_url": urls[0], "mongo_url": urls[1]})
            app = await stack.enter_async_context(running_app(own))
            instances.append(Instance(app, *wires))
        shop = instances[0].app.state.services
        user = a_user("root", "admin")
        await UserRepository(shop.database).add(user)
        yield Cluster(instances, redis, AccessTokens(TEST_SECRET.encode(), utc_now).issue(user.id, user.sessions[0]))
        await shop.database.client.drop_database(settings.mongo_db)


class History:
    """What was acknowledged when, what was read since, and the first reads that break a promise."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.requests = self.reads = self.writes = 0
        self.slowest = 0.0
        """Seconds of this process that an answer took at most."""
        self._times: dict[str, list[float]] = defaultdict(list)
        self._versions: dict[str, list[int]] = defaultdict(list)

    def acknowledged(self, instance: Instance, key: str, version: int) -> None:
        self.writes += 1
        newest = max(version, self._versions[key][-1] if self._versions[key] else 0)
        self._times[key].append(time.monotonic())
        self._versions[key].append(newest)
        instance.acknowledged[key] = max(instance.acknowledged[key], version)

    def least(self, instance: Instance, key: str, at: float) -> tuple[int, int]:
        """The oldest versions that a read which begins now may return by the first and by the second promise."""
        before = bisect.bisect_right(self._times[key], at - BOUND)
        return instance.acknowledged[key], self._versions[key][before - 1] if before else 0

    def read(self, key: str, version: int, least: tuple[int, int], took: float) -> None:
        self.reads += 1
        for promise, oldest in enumerate(least, 1):
            if version < oldest:
                self.violations.append(f"promise {promise}: {key} read as {version}, not {oldest}, in {took:.3f} s")


class Clients:
    """Eight of them, which read and write through any instance."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._own_time = OwnTime()
        self.history = History()

    async def run(self, seconds: float, enough: Callable[[History], bool] = lambda _: True) -> History:
        """Until then and until that was enough, or until something is wrong."""
        self._end, self._enough = time.monotonic() + seconds, enough
        self._last_end = self._end + PATIENCE
        async with AsyncExitStack() as stack:
            token = {"Authorization": f"Bearer {self._cluster.token}"}
            apps = [instance.app for instance in self._cluster.instances]
            self._anyone = [await stack.enter_async_context(client_of(app)) for app in apps]
            self._admin = [await stack.enter_async_context(client_of(app, **token)) for app in apps]
            for key in KEYS:
                await self._write(0, key)
            async with own_time() as self._own_time:
                await asyncio.gather(*(self._client() for _ in range(CLIENTS)))
        return self.history

    def end(self) -> None:
        """Before its time."""
        self._end = self._last_end = 0.0

    @property
    def done(self) -> bool:
        now = time.monotonic()
        over = now > self._last_end or (now > self._end and self._enough(self.history))
        return over or bool(self.history.violations)

    async def _client(self) -> None:
        while not self.done:
            self.history.requests += 1
            number = self._random.randrange(len(self._cluster.instances))
            # The first few are asked for most, as in a shop.
            key = KEYS[min(int(self._random.expovariate(0.3)), len(KEYS) - 1)]
            action = self._random.random()
            started = self._own_time.seconds
            await (self._write if action < 0.08 else self._list if action < 0.16 else self._get)(number, key)
            self.history.slowest = max(self.history.slowest, self._own_time.seconds - started)

    async def _write(self, number: int, key: str) -> None:
        body = a_product(product_id=key, category="history", stock=self._random.randrange(2**40))
        response = await self._admin[number].put(f"/products/{key}", json=body)
        if response.status_code == 404:
            response = await self._admin[number].post("/products", json=body)
        if response.is_success:
            self.history.acknowledged(self._cluster.instances[number], key, response.json()["version"])
        else:
            self.history.violations.append(f"a write was answered with {response.status_code}: {response.text}")

    async def _get(self, number: int, key: str) -> None:
        started = time.monotonic()
        least = self.history.least(self._cluster.instances[number], key, started)
        product = self._content(await self._anyone[number].get(f"/products/{key}"))
        if product:
            self.history.read(key, product["version"], least, time.monotonic() - started)

    async def _list(self, number: int, _: str) -> None:
        started = time.monotonic()
        least = {key: self.history.least(self._cluster.instances[number], key, started) for key in KEYS}
        page = self._content(await self._anyone[number].get("/products?category=history&limit=100"))
        for product in page["items"] if page else ():
            key = product["product_id"]
            self.history.read(key, product["version"], least[key], time.monotonic() - started)

    def _content(self, response: httpx.Response) -> dict | None:
        if response.status_code != 200:
            self.history.violations.append(f"a read was answered with {response.status_code}: {response.text}")
            return None
        return response.json()


class Faults:
    """Breaks things, one after another, and mends them."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self.happened: dict[str, int] = defaultdict(int)
        self.all: list[Callable[[], Awaitable[None]]] = [
            self.redis_comes_back_with_old_data,
            self.followers_are_cut,
            self.redis_hangs,
            self.a_wire_is_cut,
            self.redis_is_slow,
            self.redis_is_killed,
            self.all_wires_break,
        ]

    async def run(self, clients: Clients) -> None:
        while not clients.done:
            for fault in self._random.sample(self.all, len(self.all)):
                await self._pause(0.3, 1.6)  # long enough, at times, for Redis to be trusted again
                if clients.done:
                    return
                self.happened[fault.__name__] += 1
                await fault()

    async def redis_comes_back_with_old_data(self) -> None:
        self._cluster.redis.save()
        await self._pause(0.1, 0.5)
        self._cluster.redis.kill()
        self._cluster.redis.start()
        self._cluster.redis.forget_saved()

    async def redis_is_killed(self) -> None:
        self._cluster.redis.kill()
        await self._pause(0.1, 1.5)
        self._cluster.redis.start()

    async def redis_hangs(self) -> None:
        self._cluster.redis.freeze()
        await self._pause(0.1, 1.5)
        self._cluster.redis.thaw()

    async def redis_is_slow(self) -> None:
        for instance in self._cluster.instances:
            instance.redis.delay = self._random.choice([0.0, 0.05, 0.5])
        await self._pause(0.3, 1.5)
        for instance in self._cluster.instances:
            instance.redis.delay = 0.0

    async def a_wire_is_cut(self) -> None:
        wire = self._random.choice(self._cluster.instances).redis
        wire.cut = True
        wire.break_all()
        await self._pause(0.1, 1.5)
        wire.cut = False

    async def all_wires_break(self) -> None:
        for instance in self._cluster.instances:
            instance.redis.break_all()

    async def followers_are_cut(self) -> None:
        some = self._random.sample(self._cluster.instances, self._random.randint(1, len(self._cluster.instances)))
        for instance in some:
            instance.mongo.refused = FOLLOWING
        await self._pause(0.5, 2.5)
        for instance in some:
            instance.mongo.refused = ()

    async def _pause(self, least: float, most: float) -> None:
        await asyncio.sleep(self._random.uniform(least, most))


async def play(
    cluster: Cluster,
    seconds: float,
    seed: int,
    only: Collection[str] = (),
    enough: Callable[[History], bool] = lambda _: True,
) -> tuple[History, Faults]:
    """Reads, writes and faults, or `only` some of these, for so long and until that was enough, or until something is
    wrong."""
    clients, faults = Clients(cluster, seed), Faults(cluster, seed)
    faults.all = [fault for fault in faults.all if not only or fault.__name__ in only]
    breaking = asyncio.create_task(_after_start(faults, clients))
    try:
        return await clients.run(seconds, enough), faults
    finally:
        await tasks.end([breaking])


async def _after_start(faults: Faults, clients: Clients) -> None:
    await asyncio.sleep(1.0)
    await faults.run(clients)

"""Which server a URL leads to: the primary that Sentinels name, or the node of a cluster that has the key."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Connection
from redis.exceptions import ConnectionError as RedisDown

from cache.test_redis import failed, found, put
from shop_api.cache.counters import Counters
from shop_api.cache.redis import RedisTier
from shop_api.cli import doctor
from shop_api.kernel import tasks
from shop_api.kernel.errors import RateLimited
from shop_api.observability.command_metrics import CommandMetrics
from shop_api.observability.redis import RedisConnections
from shop_api.security.rate_limits import RateLimits
from shop_api.security.sign_in_delays import SignInDelays
from shop_api.settings import Settings
from shop_api.settings.redis_url import parse
from shop_api.storage.redis.client import connect, connection
from shop_api.storage.redis.sentinel import PrimaryPool, ToPrimary
from support.faults import RedisServer
from support.patience import PATIENCE, patient
from support.redis_servers import SERVICE, Sentinel, Watched, client, cluster, until, watched

NAMESPACE = "shop"


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("group")) as group:
        yield group


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    with cluster(tmp_path_factory.mktemp("cluster"), f"{{{NAMESPACE}}}") as nodes:
        yield nodes


@pytest.fixture
def url(nodes: list[RedisServer]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


@asynccontextmanager
async def a_tier(url: str) -> AsyncIterator[RedisTier]:
    tier = RedisTier(url, NAMESPACE, Counters(), CommandMetrics("redis"))
    trusting = asyncio.create_task(tier.keep_trusted())
    try:
        yield tier
    finally:
        await tasks.end([trusting])
        await tier.close()


async def refusals(limits: RateLimits, attempts: int) -> int:
    refused = 0
    for _ in range(attempts):
        try:
            await limits.hit("5 per hour", "somebody")
        except RateLimited:
            refused += 1
    return refused


class TestAddress:
    def test_of_one_server_is_left_to_the_driver(self):
        for url in ("redis://:p@cache:6379/0", "rediss://u:p@cache/1?ssl_ca_certs=x", "unix:///run/redis.sock"):
            assert parse(url) == ("server", url, (), "")

    def test_of_sentinels_names_them_the_service_and_the_database(self):
        address = parse("redis+sentinel://u:p%40@one:1,two,[::1]:3/shop/2?sentinel_password=x")
        assert address.hosts == (("one", 1), ("two", 26379), ("::1", 3))
        assert (address.service, address.url) == ("shop", "redis://u:p%40@one:1/2?sentinel_password=x")

    def test_of_a_cluster_names_some_of_its_nodes(self):
        address = parse("rediss+cluster://:p@one:1,two")
        assert (address.hosts, address.url) == ((("one", 1), ("two", 6379)), "rediss://:p@one:1/")

    @pytest.mark.parametrize(
        "url",
        [
            "redis+sentinel://:hunter2@one:26379",
            "redis+sentinel://:hunter2@one:26379/shop/first",
            "redis+sentinel://:hunter2@/shop",
            "redis+sentinel://:hunter2@one:26379,/shop",
            "redis+cluster://:hunter2@one:6379/1",
            "redis+cluster://:hunter2@one:port",
            "redis+cluster://:hunter2/1@one",
        ],
    )
    def test_that_is_none_is_refused_without_repeating_it(self, url: str):
        with pytest.raises(ValueError, match=r"is not of the form redis\+") as refusal:
            parse(url)
        assert "hunter2" not in str(refusal.value)

    @pytest.mark.parametrize("form", ["redis://", "redis+sentinel://", "redis+cluster://"])
    async def test_may_say_how_long_to_wait_for_a_connection_of_the_pool(self, form: str):
        """An option of the driver, which only a pool knows."""
        url = f"{form}127.0.0.1:1{'/shop' if 'sentinel' in form else ''}/0?timeout=3"
        client = connect(url)
        if "cluster" not in form:
            assert client.connection_pool.timeout == 3  # type: ignore[attr-defined]
        assert not connection(url, key="", timeout=1).is_connected


@pytest.mark.usefixtures("quick_redis")
class TestSentinel:
    async def test_both_kinds_of_connection_lead_to_the_primary(self, group: Watched):
        async with connect(group.url) as redis:
            await redis.set("greeting", "hello")
        single = connection(group.url, key="greeting", timeout=1)
        await single.connect()
        assert isinstance(single, Connection)
        assert single.port == group.servers[0].port
        await single.disconnect()

    async def test_one_that_hangs_and_one_that_is_down_are_waited_for_half_a_second_at_most(self, group: Watched):
        hanging, down, _ = group.sentinels
        hanging.freeze()
        down.kill()
        try:
            async with connect(group.url) as redis, asyncio.timeout(PATIENCE):
                await redis.ping()
                assert isinstance(redis.connection_pool, PrimaryPool)
                asked = redis.connection_pool.sentinel_manager._options
            assert (asked["socket_connect_timeout"], asked["socket_timeout"]) == (0.5, 0.5)
        finally:
            hanging.thaw()
            down.start()
            await asyncio.to_thread(until, lambda: group.is_whole)

    async def test_one_that_missed_an_election_is_not_believed(self, group: Watched, tmp_path: Path):
        """It still names the primary of before, which does not know better either."""
        (old := group.servers[0]).kill()
        await asyncio.to_thread(group.elect_another_than, old)
        old.start()
        await asyncio.to_thread(until, lambda: group.is_whole)
        for name in ("before", "behind"):
            (tmp_path / name).mkdir()
        before = RedisServer(tmp_path / "before")
        behind = Sentinel(tmp_path / "behind", before.port)
        for server in (before, behind):
            server.start()
        try:
            single = connection(group.url.replace("//", f"//127.0.0.1:{behind.port},"), key="", timeout=1)
            await single.connect()
            assert isinstance(single, Connection)
            assert single.port == group.servers[1].port
            await single.disconnect()
        finally:
            for server in (behind, before):
                server.stop()

    async def test_a_server_that_is_no_primary_is_refused_whoever_named_it(self, group: Watched):
        single = connection(group.url, key="", timeout=1)
        assert isinstance(single, ToPrimary)
        with pytest.raises(RedisDown, match="is not the primary"):
            await single.connect_to(("127.0.0.1", group.replica.port))
        assert not single.is_connected

    async def test_a_service_they_do_not_know_is_an_error(self, group: Watched):
        async with connect(group.url.replace(f"/{SERVICE}/", "/another/")) as redis:
            with pytest.raises(RedisDown, match="no Sentinel that answers knows another"):
                await redis.ping()


def is_primary(server: RedisServer) -> bool:
    with client(server.port) as redis:
        return bool(redis.role()[0] == b"master")


class TestCluster:
    async def test_instances_count_together(self, url: str):
        calls = CommandMetrics("redis")
        async with connect(patient(url), calls) as one, connect(patient(url)) as other:
            both = [RateLimits(one), RateLimits(other)]
            assert [await refusals(limits, 5) for limits in both] == [0, 5]
            assert [limits.fallbacks for limits in both] == [0, 0]
            (metric,) = calls.collect()
            assert {sample.labels["command"] for sample in metric.samples} >= {"EVALSHA"}
            opened, used, most = (metric.samples[0].value for metric in RedisConnections(one).collect())
            assert (opened > 0, used) == (True, 0)
            assert most in (3 * 32, 4 * 32)  # it may have found the replica

    async def test_sign_ins_are_delayed_together(self, url: str):
        async with connect(patient(url)) as one, connect(patient(url)) as other:
            delays = [SignInDelays(one), SignInDelays(other)]
            for _ in range(3):
                for each in delays:
                    await each.attempt("ada", "1.2.3.4")
            for each in delays:
                with pytest.raises(RateLimited):
                    await each.attempt("ada", "1.2.3.4")
                assert each._shared.fallbacks == 0
            await delays[0].succeeded("ada", "1.2.3.4")
            await delays[1].attempt("ada", "1.2.3.4")
            assert delays[0]._shared.fallbacks == 0

    async def test_the_doctor_asks_it(self, url: str, engines: Settings, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("SHOP_REDIS_URL", url)
        monkeypatch.setenv("SHOP_MONGO_URL", engines.required()[0])
        found = {finding.subject: finding for finding in await doctor.examine()}
        assert found["Redis"].verdict == "ok"
        assert found["Redis"].fact.startswith("answers, version")

    @pytest.mark.usefixtures("quick_redis")
    async def test_the_cache_goes_to_whoever_takes_over(self, nodes: list[RedisServer], url: str):
        owner, *_, replica = nodes
        async with a_tier(url) as tier, connect(url) as redis:
            limits = RateLimits(redis)
            await put(tier)
            assert isinstance(tier._connection, Connection)
            assert tier._connection.port == owner.port
            await refusals(limits, 1)
            owner.kill()
            assert await found(tier) is None  # and no error
            await asyncio.to_thread(until, lambda: is_primary(replica))
            at_election = failed(tier)
            await put(tier, "new")
            assert failed(tier) - at_election <= 2  # one was under way, and one may go by what it knew before
            assert isinstance(tier._connection, Connection)
            assert tier._connection.port == replica.port
            await asyncio.sleep(1)
            before = limits.fallbacks
            await refusals(limits, 1)
            assert limits.fallbacks == before

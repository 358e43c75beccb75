"""What health checks cost: however many there are, one probe at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shop_api.features.operations import service
from shop_api.features.operations.service import HealthService
from shop_api.settings import Settings
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.instances import Heartbeat
from support.commands import CommandCounter


@asynccontextmanager
async def checked(
    engines: Settings, shop, counter: CommandCounter, driver: mongo.Driver = "motor"
) -> AsyncIterator[HealthService]:
    """A service whose commands are counted."""
    url = engines.required()[0]
    async with mongo.open_database(url, engines.mongo_db, driver, [counter]) as database:
        async with HealthService(database, shop.redis, Heartbeat(database, "counted", "0.1")).open() as health:
            yield health
        await database["instances"].delete_one({"_id": "counted"})


def probes(counter: CommandCounter) -> int:
    return len(stored(counter))


def stored(counter: CommandCounter) -> list:
    """The ends of the heartbeats that were stored."""
    return [one["update"]["$set"]["expires_at"] for one in counter.documents if "findAndModify" in one]


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
async def test_those_that_come_at_once_share_one(engines: Settings, shop, monkeypatch: pytest.MonkeyPatch, driver):
    monkeypatch.setattr(service, "_FRESH_SECONDS", 0)
    counter = CommandCounter()
    async with checked(engines, shop, counter, driver) as health:
        found = await asyncio.gather(*(health.check() for _ in range(50)))
    assert {engines.mongo for engines in found} == {"up"}
    assert probes(counter) == 1


async def test_those_that_come_within_a_second_share_one(engines: Settings, shop, monkeypatch: pytest.MonkeyPatch):
    assert service._FRESH_SECONDS <= 1
    monkeypatch.setattr(service, "_FRESH_SECONDS", 3600)  # whatever this machine is doing
    counter = CommandCounter()
    async with checked(engines, shop, counter) as health:
        for _ in range(5):
            await health.check()
    assert probes(counter) == 1


async def test_each_later_one_stores_something_new(engines: Settings, shop, monkeypatch: pytest.MonkeyPatch):
    """MongoDB writes nothing for an update that changes nothing."""
    monkeypatch.setattr(service, "_FRESH_SECONDS", 0)
    counter = CommandCounter()
    async with checked(engines, shop, counter) as health:
        for _ in range(5):
            await health.check()
            await asyncio.sleep(0.002)  # times are stored in milliseconds
    assert len(set(stored(counter))) == 5


async def test_a_caller_that_leaves_does_not_disturb_the_others(engines: Settings, shop):
    async with checked(engines, shop, CommandCounter()) as health:
        impatient, patient = (asyncio.create_task(health.check()) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).mongo == "up"
        assert impatient.cancelled()


async def test_the_end_waits_for_no_check(engines: Settings, shop):
    async with checked(engines, shop, CommandCounter()) as health:
        checking = asyncio.create_task(health.check())
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await checking

"""Leases with fencing tokens, through both drivers."""

import asyncio
import time
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from shop_api.kernel.clock import utc_now
from shop_api.storage.mongo import instances, leases
from shop_api.storage.mongo.instances import Heartbeat, live_instances
from shop_api.storage.mongo.leases import LeaseLost, held, kept, try_acquire


async def expire(database, name: str) -> None:
    """As if its holder had been dead for long."""
    past = await leases.server_time(database) - timedelta(seconds=1)
    await database["leases"].update_one({"_id": name}, {"$set": {"expires_at": past}})


class TestLease:
    async def test_one_of_many_gets_it(self, database):
        found = await asyncio.gather(*(try_acquire(database, "work", f"holder-{n}") for n in range(8)))
        assert len([lease for lease in found if lease]) == 1

    async def test_each_holder_has_a_higher_token(self, database):
        tokens = []
        for n in range(3):
            async with held(database, "work", f"holder-{n}") as lease:
                tokens.append(lease.token)
        assert tokens == [1, 2, 3]

    async def test_who_waits_is_told_for_whom_and_gets_it_at_once_when_it_is_released(self, database):
        told: list[str] = []
        first = await try_acquire(database, "work", "first")
        assert first is not None
        waiting = asyncio.create_task(_hold_once(database, told))
        while not told:
            await asyncio.sleep(0.01)
        assert not waiting.done()
        await first.release()
        assert await waiting == 2
        assert told == ["first"]

    async def test_one_that_is_not_renewed_is_taken_over(self, database):
        await try_acquire(database, "work", "dead")
        await expire(database, "work")
        lease = await try_acquire(database, "work", "alive")
        assert lease is not None
        assert lease.token == 2

    async def test_it_is_renewed_while_it_is_held(self, database, monkeypatch):
        monkeypatch.setattr(leases, "_RENEW_SECONDS", 0.01)
        async with held(database, "work", "holder"):
            await expire(database, "work")
            while (await database["leases"].find_one({}))["expires_at"] < await leases.server_time(database):
                await asyncio.sleep(0.01)
            assert await try_acquire(database, "work", "other") is None

    async def test_a_holder_notices_that_it_was_taken_over(self, database, monkeypatch):
        monkeypatch.setattr(leases, "_RENEW_SECONDS", 0.01)
        lease = await try_acquire(database, "work", "slow")
        assert lease is not None
        await expire(database, "work")
        await try_acquire(database, "work", "fast")
        async with kept(lease):
            with pytest.raises(LeaseLost):
                await _check_until_it_is_lost(lease)
        assert (await database["leases"].find_one({}))["holder"] == "fast"
        assert await try_acquire(database, "work", "third") is None  # the end of the slow one released nothing

    async def test_a_holder_that_was_stopped_asks_whether_it_still_has_it(self, database):
        lease = await try_acquire(database, "work", "stopped")
        assert lease is not None
        await expire(database, "work")
        lease._renewed = time.monotonic() - leases.LEASE_SECONDS
        await lease.check()
        assert await try_acquire(database, "work", "other") is None
        await expire(database, "work")
        assert await try_acquire(database, "work", "other")
        await lease.check()  # by its own clock there is time left
        lease._renewed = time.monotonic() - leases.LEASE_SECONDS
        with pytest.raises(LeaseLost):
            await lease.check()


async def _check_until_it_is_lost(lease: leases.Lease) -> None:
    while True:
        await lease.check()
        await asyncio.sleep(0.01)


async def _hold_once(database, told: list[str]) -> int:
    async with held(database, "work", "second", told.append) as lease:
        return lease.token


class TestHeartbeat:
    async def test_an_instance_is_listed_while_it_lives(self, database):
        async with Heartbeat(database, "one", "0.1").kept(), Heartbeat(database, "two", "0.1").kept():
            assert await live_instances(database) == ["one", "two"]
        assert await live_instances(database) == []

    async def test_one_that_was_killed_counts_until_its_heartbeat_is_old(self, database):
        now = await leases.server_time(database)
        await database["instances"].insert_many(
            [
                {"_id": "a moment ago", "expires_at": now + timedelta(seconds=20)},
                {"_id": "long ago", "expires_at": now - timedelta(seconds=1)},
            ]
        )
        assert await live_instances(database) == ["a moment ago"]

    async def test_a_clock_that_begins_to_differ_is_logged_once(self, database, monkeypatch):
        monkeypatch.setattr(instances, "HEARTBEAT_SECONDS", 0.01)
        ahead = timedelta(0)
        with capture_logs() as logs:
            async with Heartbeat(database, "one", "0.1", lambda: utc_now() + ahead).kept():
                ahead = timedelta(minutes=2)
                for _ in range(6):
                    before = await database["instances"].find_one({"_id": "one"})
                    while await database["instances"].find_one({"_id": "one"}) == before:
                        await asyncio.sleep(0.01)
        [line] = [line for line in logs if "clock" in line["event"]]
        assert line["log_level"] == "warning"
        assert "ahead of MongoDB's" in line["reason"]

    async def test_it_goes_on_and_survives_what_fails(self, database, monkeypatch):
        monkeypatch.setattr(instances, "HEARTBEAT_SECONDS", 0.01)
        async with Heartbeat(database, "one", "0.1").kept():
            await database["instances"].drop()
            while await live_instances(database) != ["one"]:
                await asyncio.sleep(0.01)

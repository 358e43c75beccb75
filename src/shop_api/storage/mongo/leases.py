"""Leases with fencing tokens: at most one process does a job at a time, and another takes over if it dies.

A lease expires unless its holder renews it. A holder that was paused for longer does not know that it lost the
lease, so each acquisition has a higher fencing token, and writes under a lease compare the token.
(Source: Kleppmann, "How to do distributed locking", 2016.)
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pymongo
from pymongo import ReturnDocument

from shop_api.kernel import tasks
from shop_api.storage.mongo.client import Collection, Database, DuplicateKeyError, PyMongoError, unavailable
from shop_api.storage.mongo.collections import CollectionSpec

LEASES = CollectionSpec("leases")
LEASE_SECONDS = 10.0
_RENEW_SECONDS = LEASE_SECONDS / 4
_POLL_SECONDS = 0.25
_RELEASE_TIMEOUT = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LeaseLost(Exception):
    """The lease was not renewed in time, and another process has acquired it."""


class Lease:
    """A lease that this process has acquired."""

    def __init__(self, database: Database, name: str, token: int) -> None:
        self.name = name
        self.token = token
        """The fencing token: higher than that of every earlier holder."""
        self._database = database
        self._leases: Collection = database[LEASES.name]
        self._renewed = time.monotonic()

    async def check(self) -> None:
        """Raise LeaseLost if another process has the lease. If it was not renewed in time, try to renew it: during an
        outage of the database, no other process can have acquired it."""
        in_force = time.monotonic() - self._renewed < LEASE_SECONDS
        if not in_force and not await self.renew():
            raise LeaseLost(f"another process has taken over the lease {self.name}")

    async def renew(self) -> bool:
        """Extend the lease by LEASE_SECONDS. Return False if another process has taken it over."""
        began = time.monotonic()
        own = await self._set_end(await server_time(self._database) + timedelta(seconds=LEASE_SECONDS))
        self._renewed = began if own else float("-inf")
        return own

    async def keep(self) -> None:
        """Renew the lease until cancelled, or until it is lost."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                if not await self.renew():
                    return
            except PyMongoError as error:
                if not unavailable(error):
                    raise

    async def release(self) -> None:
        """End the lease now. If the database is unavailable, the lease expires by itself."""
        with suppress(PyMongoError), pymongo.timeout(_RELEASE_TIMEOUT):
            await self._set_end(_EPOCH)

    async def _set_end(self, at: datetime) -> bool:
        own = {"_id": self.name, "token": self.token}
        return (await self._leases.update_one(own, {"$set": {"expires_at": at}})).matched_count == 1


async def server_time(database: Database) -> datetime:
    """Return the database server's time, since the clocks of instances may differ."""
    hello = await database.command("hello")
    now: datetime = hello["localTime"]
    return now if now.tzinfo else now.replace(tzinfo=UTC)


async def try_acquire(database: Database, name: str, holder: str) -> Lease | None:
    """Acquire the lease, in one compare-and-set. Return None while another holder has it."""
    now, began = await server_time(database), time.monotonic()
    # Read before the update, so `now` is never later than the time of the comparison.
    fields = {"holder": holder, "expires_at": now + timedelta(seconds=LEASE_SECONDS)}
    try:
        found = await database[LEASES.name].find_one_and_update(
            {"_id": name, "expires_at": {"$lte": now}},
            {"$set": fields, "$inc": {"token": 1}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
    except DuplicateKeyError:
        return None
    # The embedded engine may return nothing for an upsert that met another one: see which of them took the lease.
    found = found or await database[LEASES.name].find_one({"_id": name, "holder": holder})
    if found is None:
        return None
    lease = Lease(database, name, found["token"])
    lease._renewed = began
    return lease


async def _acquire(database: Database, name: str, holder: str, waiting: Callable[[str], None] | None) -> Lease:
    told = False
    while (lease := await try_acquire(database, name, holder)) is None:
        if waiting and not told:
            current = await database[LEASES.name].find_one({"_id": name})
            waiting(str(current["holder"]) if current else "another instance")
            told = True
        await asyncio.sleep(_POLL_SECONDS)
    return lease


@asynccontextmanager
async def kept(lease: Lease) -> AsyncIterator[Lease]:
    """Renew `lease` during the block, and release it at its end."""
    renewing = asyncio.create_task(lease.keep())
    try:
        yield lease
    finally:
        await tasks.end([renewing])
        await lease.release()


@asynccontextmanager
async def held(
    database: Database, name: str, holder: str, waiting: Callable[[str], None] | None = None
) -> AsyncIterator[Lease]:
    """Hold the lease during the block, after waiting for its holder to release it or die. `waiting` is called once
    with that holder."""
    async with kept(await _acquire(database, name, holder, waiting)) as lease:
        yield lease

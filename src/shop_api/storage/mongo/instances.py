"""Heartbeat documents, which show the instances that are serving from this database."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from uuid import uuid4

import pymongo
import structlog
from pymongo import IndexModel

from shop_api.kernel import tasks
from shop_api.kernel.clock import Clock, utc_now
from shop_api.storage.mongo.client import Database, PyMongoError, brief_message, storage_failed
from shop_api.storage.mongo.clock_offset import compare
from shop_api.storage.mongo.collections import CollectionSpec
from shop_api.storage.mongo.leases import server_time

# MongoDB's TTL monitor removes an expired document with a delay, so readers also compare the time.
INSTANCES = CollectionSpec("instances", indexes=[IndexModel([("expires_at", 1)], expireAfterSeconds=0)])
HEARTBEAT_SECONDS = 10.0
DEAD_AFTER_SECONDS = 30
_GOODBYE_TIMEOUT = 1

log = structlog.get_logger()


def new_instance_id() -> str:
    """Return a unique, readable id for this process: host, process id and a random suffix."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


class Heartbeat:
    """The heartbeat document of one instance. To store it proves that MongoDB takes writes."""

    def __init__(self, database: Database, instance_id: str, version: str, clock: Clock = utc_now) -> None:
        self._database = database
        self._instances = database[INSTANCES.name]
        self._id = instance_id
        self._about = {"version": version}
        self._clock = clock
        self._clock_is_wrong = False
        self.clock_offset_seconds = 0.0
        """By how much the clock of this instance was ahead of MongoDB's at the last beat; negative if behind."""
        self.storage_failure: str | None = None
        """Why the storage engine could not store the last beat; None unless it has failed."""

    async def beat(self) -> None:
        """Store the document and read it back, and compare the clocks. Raises PyMongoError if MongoDB fails to."""
        try:
            await self._store(await self._compare_clocks())
        except PyMongoError as error:
            self.storage_failure = brief_message(error) if storage_failed(error) else None
            raise
        self.storage_failure = None

    async def _store(self, now: datetime) -> None:
        # Written to the storage engine and its journal each time, since `expires_at` is never the same: MongoDB does
        # not store an update that changes nothing. It needs a primary, and returns what it has read.
        end = now + timedelta(seconds=DEAD_AFTER_SECONDS)
        update = {"$set": {**self._about, "expires_at": end}, "$setOnInsert": {"started_at": now}}
        await self._instances.find_one_and_update({"_id": self._id}, update, upsert=True)

    async def _compare_clocks(self) -> datetime:
        """Return MongoDB's time. Log when the clock of this machine begins or ceases to be wrong."""
        clocks = await compare(self._database, self._clock)
        self.clock_offset_seconds = clocks.offset_seconds
        if clocks.is_wrong and not self._clock_is_wrong:
            log.warning("the clock of this machine is wrong, or MongoDB's is", reason=f"it is {clocks.in_words}")
        elif self._clock_is_wrong and not clocks.is_wrong:
            log.warning("the clock of this machine agrees with MongoDB's again")
        self._clock_is_wrong = clocks.is_wrong
        return clocks.server_time

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Keep the document alive during the block, and remove it at its end."""
        await self.beat()
        log.debug("registered the instance", instance=self._id)
        beating = asyncio.create_task(self._keep_beating())
        try:
            yield
        finally:
            await tasks.end([beating])
            with suppress(PyMongoError), pymongo.timeout(_GOODBYE_TIMEOUT):
                await self._instances.delete_one({"_id": self._id})

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                await self.beat()
            except PyMongoError as error:
                log.warning("the heartbeat was not stored", reason=str(error)[:300])


async def live_instances(database: Database) -> list[str]:
    """Return the ids of the instances whose heartbeat is not older than half a minute."""
    now = await server_time(database)
    return sorted([d["_id"] async for d in database[INSTANCES.name].find({"expires_at": {"$gt": now}})])

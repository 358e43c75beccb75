"""Heartbeat documents, which show the instances that are serving from this database."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from uuid import uuid4

import pymongo
import structlog
from pymongo import IndexModel

from shop_api.kernel import tasks
from shop_api.storage.mongo.client import Database, Document, PyMongoError
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


@asynccontextmanager
async def heartbeat(database: Database, instance_id: str, version: str) -> AsyncIterator[None]:
    """Keep the instance's document alive during the block, and remove it at its end."""
    began = await _beat(database, instance_id, {"version": version})
    log.debug("registered the instance", instance=instance_id, at=began)
    beating = asyncio.create_task(_keep_beating(database, instance_id, {"version": version}))
    try:
        yield
    finally:
        await tasks.end([beating])
        with suppress(PyMongoError), pymongo.timeout(_GOODBYE_TIMEOUT):
            await database[INSTANCES.name].delete_one({"_id": instance_id})


async def _keep_beating(database: Database, instance_id: str, about: Document) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        try:
            await _beat(database, instance_id, about)
        except PyMongoError as error:
            log.warning("the heartbeat was not stored", reason=str(error)[:300])


async def _beat(database: Database, instance_id: str, about: Document) -> str:
    now = await server_time(database)
    end = now + timedelta(seconds=DEAD_AFTER_SECONDS)
    update = {"$set": {**about, "expires_at": end}, "$setOnInsert": {"started_at": now}}
    await database[INSTANCES.name].update_one({"_id": instance_id}, update, upsert=True)
    return now.isoformat()


async def live_instances(database: Database) -> list[str]:
    """Return the ids of the instances whose heartbeat is not older than half a minute."""
    now = await server_time(database)
    return sorted([d["_id"] async for d in database[INSTANCES.name].find({"expires_at": {"$gt": now}})])

"""The driver seam: Motor by default, PyMongo Async by setting, with the same safe options.

The two have the same methods with the same meaning, typed here as PyMongo's, except for the few that one
of them awaits and the other does not; those are functions of this module. (Source: PyMongo's guide for migrating
from Motor.)
"""

import inspect
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, Literal, NamedTuple, cast

import pymongo
from bson.timestamp import Timestamp
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
)
from pymongo.read_concern import ReadConcern

from shop_api.settings import mongo_url

__all__ = [
    "BulkWriteError",
    "Change",
    "Changes",
    "Collection",
    "CollectionGone",
    "Database",
    "Document",
    "Driver",
    "DuplicateKeyError",
    "PyMongoError",
    "Session",
    "aggregate",
    "awaited",
    "brief_message",
    "current_operation_time",
    "has_primary",
    "open_database",
    "ping",
    "snapshot",
    "snapshot_is_gone",
    "time_limit",
    "unavailable",
    "watch",
]

Document = dict[str, Any]
Client = AsyncMongoClient[Document]
Database = AsyncDatabase[Document]
Collection = AsyncCollection[Document]
Session = AsyncClientSession

Driver = Literal["motor", "pymongo"]


class CollectionGone(Exception):
    """The collection that was watched has been dropped or renamed."""


# Every operation ends within this time, retries included. A cancelled Motor call keeps its thread until then.
OPERATION_TIMEOUT_MS = 4_000
# NoSuchTransaction, TransactionExceededLifetimeLimitSeconds, SnapshotTooOld.
_SNAPSHOT_GONE = (251, 290, 239)
_OPTIONS: dict[str, Any] = {
    "timeoutMS": OPERATION_TIMEOUT_MS,
    "serverSelectionTimeoutMS": 3_000,
    "waitQueueTimeoutMS": 3_000,
    "connectTimeoutMS": 2_000,
    "maxPoolSize": 64,
    "w": "majority",
    "journal": True,
    "tz_aware": True,
    "appname": "shop_api",
}


@asynccontextmanager
async def open_database(
    url: str, name: str, driver: Driver, listeners: Sequence[Any] = ()
) -> AsyncIterator[Database]:
    """The database `name`, acknowledged by a majority and journaled; closed at the end. The driver tells `listeners`
    what it does (pymongo.monitoring). Time-outs, sizes and all else that the URL says go before what is set here."""
    said = mongo_url.options(url)
    options = {option: value for option, value in _OPTIONS.items() if option.lower() not in said}
    if driver == "motor":
        # Read at the import. By default there are five threads for each core, and while the database hangs,
        # operations would queue for them without their time-outs having begun.
        os.environ.setdefault("MOTOR_MAX_WORKERS", str(_OPTIONS["maxPoolSize"]))
        from motor.motor_asyncio import AsyncIOMotorClient

        client = cast(Client, AsyncIOMotorClient(url, event_listeners=listeners, **options))
    else:
        client = AsyncMongoClient(url, event_listeners=listeners, **options)
    try:
        yield client[name]
    finally:
        await awaited(client.close())


async def awaited(result: Any) -> Any:
    """What a method gives that one of the drivers awaits and the other does not."""
    return await result if inspect.isawaitable(result) else result


async def aggregate(collection: Collection, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
    cursor = await awaited(collection.aggregate(pipeline))
    documents: list[Document] = await cursor.to_list(None)
    return documents


@asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator[Session]:
    """A session in which everything is read as of one moment. MongoDB keeps that for a minute."""
    session: Session = await awaited(database.client.start_session())
    # A transaction, since the embedded engine gives a session of snapshot reads another moment for each read.
    async with session, await awaited(session.start_transaction(ReadConcern("snapshot"))):
        yield session


def snapshot_is_gone(error: PyMongoError) -> bool:
    """Whether reading in `snapshot` failed because it took too long."""
    return isinstance(error, OperationFailure) and error.code in _SNAPSHOT_GONE


def time_limit(seconds: float) -> AbstractContextManager[None]:
    """Limit the time of all operations in the block together, in place of that of each."""
    return pymongo.timeout(seconds)


async def ping(database: Database) -> None:
    """PyMongoError unless the database answers."""
    await database.command("ping")


def has_primary(database: Database) -> bool:
    """Whether a server is known that takes writes; nobody is asked."""
    return any(server.is_writable for server in database.client.topology_description.server_descriptions().values())


class Change(NamedTuple):
    """One document was written or deleted, by anybody."""

    collection: str
    id: Any
    at: Timestamp
    """Its place in the order of all changes."""


class Changes:
    """The changes of some collections from a moment on, in order (a change stream)."""

    # Longer than any heartbeat a caller could need, shorter than it takes to notice.
    WAIT_MS = 200

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def next(self) -> Change | None:
        """The next one; None if none was made while this waited. CollectionGone when there will be no more."""
        event = await self._stream.try_next()
        if event is None:
            return None
        if "documentKey" not in event:
            raise CollectionGone(event["operationType"])
        return Change(event["ns"]["coll"], event["documentKey"]["_id"], event["clusterTime"])

    @property
    def position(self) -> Any:
        """Where `watch` can go on."""
        return self._stream.resume_token


@asynccontextmanager
async def watch(database: Database, collections: Sequence[str], after: Any = None) -> AsyncIterator[Changes]:
    """The changes from now on, or after an earlier position; then PyMongoError if that is too long ago."""
    ends = {"operationType": {"$in": ["dropDatabase", "invalidate"]}}
    pipeline: list[Document] = [
        {"$match": {"$or": [{"ns.coll": {"$in": list(collections)}}, ends]}},
        {"$project": {"operationType": 1, "documentKey": 1, "clusterTime": 1, "ns": 1}},
    ]
    opening = database.watch(pipeline, resume_after=after, max_await_time_ms=Changes.WAIT_MS, batch_size=1000)
    async with await awaited(opening) as stream:
        yield Changes(stream)


async def current_operation_time(database: Database) -> Timestamp:
    """A place in the order of all changes: whatever was acknowledged before this call comes before it."""
    reply = await database.command("ping")
    at: Timestamp = reply["operationTime"]
    return at


# What a server answers while it stops, starts, or is not the primary any more: shutdown in progress, interrupted, …
# (Source: the drivers' specification of retryable reads and writes.)
_PASSING = frozenset({6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436})
_ADDED = re.compile(r" \(configured|, Timeout:|, full error")
_PASSING_LABELS = ("RetryableWriteError", "TransientTransactionError")


def unavailable(error: PyMongoError) -> bool:
    """Whether `error` means that the database cannot answer now, not that it was asked something wrong."""
    if isinstance(error, ConnectionFailure) or error.timeout or any(map(error.has_error_label, _PASSING_LABELS)):
        return True
    return isinstance(error, OperationFailure) and error.code in _PASSING


def brief_message(error: PyMongoError) -> str:
    """What `error` says, without the time-outs, the picture of all servers or the raw reply that the drivers add."""
    return _ADDED.split(str(error), maxsplit=1)[0]

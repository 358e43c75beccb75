"""The MongoDB driver: Motor by default, PyMongo Async by setting, with the same safe options.

The two have the same methods with the same meaning, typed here as PyMongo's. The few methods that only one of
them awaits are wrapped by functions of this module. (Source: PyMongo's guide for migrating
from Motor.)
"""

import inspect
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
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
    "storage_failed",
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
    """A watched collection was dropped or renamed."""


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
    """Open the database `name` with journaled majority writes, and close the client after the block.

    `listeners` receive the driver's events (pymongo.monitoring). Options in the URL override the defaults here."""
    url_options = mongo_url.options(url)
    options = {option: value for option, value in _OPTIONS.items() if option.lower() not in url_options}
    if driver == "motor":
        # Motor reads this when imported. Its default is five threads per core; while the database hangs, operations
        # would queue for a thread before their time-outs begin.
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
    """Return `result`, awaited if the driver in use returns an awaitable."""
    return await result if inspect.isawaitable(result) else result


async def aggregate(collection: Collection, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
    cursor = await awaited(collection.aggregate(pipeline))
    documents: list[Document] = await cursor.to_list(None)
    return documents


@asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator[Session]:
    """A session whose reads all see one point in time. MongoDB keeps such a snapshot for one minute."""
    session: Session = await awaited(database.client.start_session())
    # A transaction: in a snapshot session, the embedded engine gives each read its own point in time.
    async with session, await awaited(session.start_transaction(ReadConcern("snapshot"))):
        yield session


def snapshot_is_gone(error: PyMongoError) -> bool:
    """Return whether a read in `snapshot` failed because the snapshot has expired."""
    return isinstance(error, OperationFailure) and error.code in _SNAPSHOT_GONE


def time_limit(seconds: float) -> AbstractContextManager[None]:
    """Limit the total time of all operations in the block, instead of the time of each."""
    return pymongo.timeout(seconds)


async def ping(database: Database) -> None:
    """Raise PyMongoError if the database does not respond."""
    await database.command("ping")


def has_primary(database: Database) -> bool:
    """Return whether the driver currently knows a writable server. Sends nothing."""
    return any(server.is_writable for server in database.client.topology_description.server_descriptions().values())


class Change(NamedTuple):
    """A write or deletion of one document, from any client."""

    collection: str
    id: Any
    at: Timestamp
    """Its cluster time, which orders all changes."""


class Changes:
    """An ordered feed of changes to some collections (a change stream)."""

    # Short enough that a caller can act between changes without a noticeable delay.
    WAIT_MS = 200

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def next(self) -> Change | None:
        """Return the next change, or None after WAIT_MS without one. Raise CollectionGone if the stream has ended."""
        event = await self._stream.try_next()
        if event is None:
            return None
        if "documentKey" not in event:
            raise CollectionGone(event["operationType"])
        return Change(event["ns"]["coll"], event["documentKey"]["_id"], event["clusterTime"])

    @property
    def position(self) -> Any:
        """The resume token, for `watch(after=…)`."""
        return self._stream.resume_token


@asynccontextmanager
async def watch(database: Database, collections: Sequence[str], after: Any = None) -> AsyncIterator[Changes]:
    """Watch changes from now on, or after an earlier `position`. Raise PyMongoError if the oplog no longer has it."""
    ends = {"operationType": {"$in": ["dropDatabase", "invalidate"]}}
    pipeline: list[Document] = [
        {"$match": {"$or": [{"ns.coll": {"$in": list(collections)}}, ends]}},
        {"$project": {"operationType": 1, "documentKey": 1, "clusterTime": 1, "ns": 1}},
    ]
    opening = database.watch(pipeline, resume_after=after, max_await_time_ms=Changes.WAIT_MS, batch_size=1000)
    async with await awaited(opening) as stream:
        yield Changes(stream)


async def current_operation_time(database: Database) -> Timestamp:
    """Return the current operation time: every write acknowledged before this call has an earlier or equal one."""
    reply = await database.command("ping")
    at: Timestamp = reply["operationTime"]
    return at


# Errors of a server that is stopping, starting or no longer primary: ShutdownInProgress, interrupted, …
# (Source: the drivers' specification of retryable reads and writes.)
_PASSING = frozenset({6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436})
_ADDED = re.compile(r" \(configured|, Timeout:|, full error")
_PASSING_LABELS = ("RetryableWriteError", "TransientTransactionError")
# OutOfDiskSpace; UserWritesBlocked, with which an operator makes a cluster read-only.
_STORES_NOTHING = frozenset({14031, 371})
# Failures of the storage engine have generic codes, which other errors have too: UnknownError from MongoDB
# (wtRCToStatus), InternalError from the embedded engine, IllegalOperation in read-only mode. Only the message tells.
_UNSPECIFIC = frozenset({1, 8, 20})
_OF_THE_DISK = re.compile(
    r"WT_PANIC|No space left on device|File too large|Disk quota exceeded|Input/output error|Read-only file system"
    r"|in read-only mode"
)


def unavailable(error: PyMongoError) -> bool:
    """Return whether `error` means that the database is unavailable or stores nothing, not that the request was
    wrong. Of several failed writes in a batch, one is enough."""
    if isinstance(error, ConnectionFailure) or error.timeout or any(map(error.has_error_label, _PASSING_LABELS)):
        return True
    return storage_failed(error) or any(code in _PASSING for code, _ in _causes(error))


def storage_failed(error: PyMongoError) -> bool:
    """Return whether the server responds but can store nothing: its disk is full, fails or is read-only, or its
    storage engine has stopped for such a reason (WT_PANIC)."""
    return any(
        code in _STORES_NOTHING or (code in _UNSPECIFIC and _OF_THE_DISK.search(message))
        for code, message in _causes(error)
    )


def _causes(error: PyMongoError) -> Iterator[tuple[int | None, str]]:
    """Yield the codes and messages of a refused command, or of each write of a batch."""
    if not isinstance(error, OperationFailure):
        return
    yield error.code, brief_message(error)
    details = error.details or {}
    for kind in ("writeErrors", "writeConcernErrors"):
        for one in details.get(kind, ()):
            yield one.get("code"), one.get("errmsg", "")


def brief_message(error: PyMongoError) -> str:
    """Return the message of `error` without the time-outs, topology description and raw reply that drivers append."""
    return _ADDED.split(str(error), maxsplit=1)[0]

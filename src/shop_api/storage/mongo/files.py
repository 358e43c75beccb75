"""Files in MongoDB, in the GridFS format.

The drivers' own GridFS classes hold up to 48 MB of a file in memory. Here, writing and reading hold a few chunks.
(Source: MongoDB Specifications, "GridFS Spec".)
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

from bson import Binary, ObjectId
from uuid_utils import uuid7

from shop_api.storage.mongo.client import Database, Document, PyMongoError
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel, not_restored

_CHUNK = 255 * 1024
_CHUNKS_AT_ONCE = 4


def file_collections(bucket: str) -> tuple[CollectionSpec, CollectionSpec]:
    """Return the collections of a bucket of temporary files, which are not restored from backups."""
    by_file = IndexModel([("files_id", 1), ("n", 1)], unique=True)
    return (
        CollectionSpec(f"{bucket}.files", on_restore=not_restored),
        CollectionSpec(f"{bucket}.chunks", indexes=(by_file,), on_restore=not_restored),
    )


class FileStore:
    """The files of one bucket. Their ids are UUIDs that begin with the time of their creation (RFC 9562 §5.7)."""

    def __init__(self, database: Database, bucket: str) -> None:
        self._files = database[f"{bucket}.files"]
        self._chunks = database[f"{bucket}.chunks"]

    async def write(self, content: AsyncIterator[bytes]) -> tuple[str, int]:
        """Store a file. Return its id and its size in bytes. If `content` fails, nothing is stored."""
        file_id = str(uuid7())
        try:
            size = await self._write_content(file_id, content)
        except Exception:
            with suppress(PyMongoError):
                await self.remove(file_id)
            raise
        file: Document = {"_id": file_id, "length": size, "chunkSize": _CHUNK, "uploadDate": datetime.now(UTC)}
        await self._files.insert_one(file)
        return file_id, size

    async def _write_content(self, file_id: str, content: AsyncIterator[bytes]) -> int:
        size, number, waiting = 0, 0, bytearray()
        async for part in content:
            waiting += part
            size += len(part)
            if len(waiting) >= _CHUNK * _CHUNKS_AT_ONCE:
                number = await self._write_chunks(file_id, number, waiting, whole_only=True)
        await self._write_chunks(file_id, number, waiting, whole_only=False)
        return size

    async def _write_chunks(self, file_id: str, number: int, waiting: bytearray, *, whole_only: bool) -> int:
        """Store the waiting bytes from chunk `number` on. Return the number of the next chunk."""
        chunks: list[Document] = []
        while len(waiting) >= _CHUNK or (waiting and not whole_only):
            data = Binary(bytes(waiting[:_CHUNK]))
            chunks.append({"_id": ObjectId(), "files_id": file_id, "n": number + len(chunks), "data": data})
            del waiting[:_CHUNK]
        if chunks:
            await self._chunks.insert_many(chunks)
        return number + len(chunks)

    async def read(self, file_id: str) -> AsyncIterator[bytes]:
        """Yield the content of a file, nothing if it does not exist."""
        found = self._chunks.find({"files_id": file_id}).sort("n", 1).batch_size(_CHUNKS_AT_ONCE)
        async for chunk in found:
            yield bytes(chunk["data"])

    async def remove(self, file_id: str) -> None:
        await self._files.delete_one({"_id": file_id})
        await self._chunks.delete_many({"files_id": file_id})

    async def remove_older(self, than: datetime, kept: str | None) -> None:
        """Remove the files created before a time, those that were never completed included, but not `kept`."""
        milliseconds = int(than.timestamp() * 1000)
        before = f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}"
        for collection, field in ((self._chunks, "files_id"), (self._files, "_id")):
            await collection.delete_many({field: {"$lt": before, "$ne": kept}})

"""Batched reads and replacements by id: those of concurrent requests share an operation."""

from collections.abc import Sequence

from pymongo.errors import NetworkTimeout

from shop_api.kernel.batching import Batcher
from shop_api.storage.mongo import bulk, portable
from shop_api.storage.mongo.client import Collection, Document, PyMongoError, Session, unavailable


class DocumentsById:
    """Reads and replaces documents of `collection`, each as if alone. With a session, an operation is not batched.

    `projection` applies to reads. Concurrent reads of the same id return the same object, which must not be
    modified."""

    def __init__(self, collection: Collection, projection: Document | None = None) -> None:
        self._collection = collection
        self._projection = projection
        seconds = collection.database.client.options.timeout
        self._reads = Batcher(self._find, _concerns_all, seconds)
        self._replacements = Batcher(self._replace, _concerns_all, seconds)

    async def get(self, document_id: str, session: Session | None = None) -> Document | None:
        if session is not None:
            return await self._collection.find_one({"_id": document_id}, self._projection, session=session)
        try:
            return await self._reads(document_id)
        except TimeoutError:
            raise _timed_out() from None

    async def replace(self, document: Document, session: Session | None = None) -> bool:
        """Replace the version just before `document`. Return False if that version is no longer current."""
        if session is not None:
            return await portable.replace_version(self._collection, document, session)
        try:
            return await self._replacements(document)
        except TimeoutError:
            raise _timed_out() from None

    async def _find(self, ids: Sequence[str]) -> list[Document | None]:
        distinct = list(dict.fromkeys(ids))
        if len(distinct) == 1:
            return [await self._collection.find_one({"_id": distinct[0]}, self._projection)] * len(ids)
        documents = await self._collection.find({"_id": {"$in": distinct}}, self._projection).to_list(None)
        found = {document["_id"]: document for document in documents}
        return [found.get(document_id) for document_id in ids]

    async def _replace(self, documents: Sequence[Document]) -> Sequence[bool | Exception]:
        if len(documents) == 1:
            return [await portable.replace_version(self._collection, documents[0])]
        return await bulk.replace_versions(self._collection, documents)


def _concerns_all(error: Exception) -> bool:
    return isinstance(error, PyMongoError) and unavailable(error)


def _timed_out() -> NetworkTimeout:
    return NetworkTimeout("the database did not respond in time")

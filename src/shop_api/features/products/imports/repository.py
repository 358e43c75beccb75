"""The `imports` collection and the uploaded files."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from shop_api.features.products.imports.errors import ImportRunning
from shop_api.features.products.imports.models import (
    ACTIVE,
    MAX_REASON,
    MAX_REJECTED_ROWS,
    RejectedRow,
    State,
    StoredImport,
)
from shop_api.features.products.transfer.results import ImportResult
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Database, Document, Session
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel, not_restored
from shop_api.storage.mongo.files import file_collections

BUCKET = "import_files"
_REMEMBERED = timedelta(days=30)
# The id of the document that names the import that is not over, of which it lets one exist. A unique field of the
# imports themselves could not be released by an update (docs/embedded-engine.md).
_ACTIVE = "active"
_NOT_OVER = {"state": {"$in": list(ACTIVE)}}

IMPORTS = CollectionSpec(
    name="imports",
    indexes=[
        IndexModel([("expires_at", 1)], expireAfterSeconds=0),
    ],
    on_restore=not_restored,
)
COLLECTIONS = (IMPORTS, *file_collections(BUCKET))


class ImportRepository:
    def __init__(self, database: Database) -> None:
        self._imports = database[IMPORTS.name]

    async def get(self, import_id: str, session: Session | None = None) -> StoredImport | None:
        document = await self._imports.find_one({"_id": import_id}, session=session)
        return _import(document) if document else None

    async def active(self) -> StoredImport | None:
        """Return the import that is queued or running, or None."""
        active = await self._imports.find_one({"_id": _ACTIVE})
        return await self.get(active["import_id"]) if active else None

    async def add(self, job: StoredImport, session: Session) -> None:
        """Store a new import. Raises ImportRunning if there is another one that is not over."""
        try:
            await self._imports.insert_one({"_id": _ACTIVE, "import_id": job.import_id}, session=session)
        except mongo.DuplicateKeyError:
            raise ImportRunning from None
        await self._imports.insert_one(_document(job), session=session)

    async def start(self, import_id: str, token: int, now: datetime) -> StoredImport | None:
        """Mark an import as running by the holder of the lease with this fencing token. Return None if it is over, or
        if a later holder runs it."""
        earlier = {"_id": import_id, **_NOT_OVER, "token": {"$not": {"$gt": token}}}
        update = [{"$set": {"state": "running", "token": token, "started_at": {"$ifNull": ["$started_at", now]}}}]
        started = (await self._imports.update_one(earlier, update)).matched_count == 1
        return await self.get(import_id) if started else None

    async def record(
        self, import_id: str, token: int, result: ImportResult, position: int, rejected: Sequence[RejectedRow]
    ) -> bool:
        """Store the progress of a running import. Return False if it is over, or if a later holder runs it."""
        rows = [{**row.model_dump(), "reason": row.reason[:MAX_REASON]} for row in rejected]
        update = {
            "$set": {**_counts(result), "position_bytes": position},
            "$push": {"rejected_rows": {"$each": rows, "$slice": MAX_REJECTED_ROWS}},
        }
        mine = {"_id": import_id, **_NOT_OVER, "token": token}
        return (await self._imports.update_one(mine, update)).matched_count == 1

    async def end(
        self, job: StoredImport, state: State, now: datetime, session: Session, error: str | None = None
    ) -> bool:
        """Mark an import as over. Return False if it is already."""
        ended = {"state": state, "error": error, "finished_at": now, "expires_at": now + _REMEMBERED}
        active = {"_id": job.import_id, **_NOT_OVER}
        if not (await self._imports.update_one(active, {"$set": ended}, session=session)).matched_count:
            return False
        await self._imports.delete_one({"_id": _ACTIVE}, session=session)
        return True


def _counts(result: ImportResult) -> Document:
    warnings = [
        {"warning": kind, "count": found.count, "line": found.number, "detail": found.detail[:MAX_REASON]}
        for kind, found in result.warnings.items()
    ]
    names = ("created", "updated", "unchanged", "rejected", "without_id")
    return {name: getattr(result, name) for name in names} | {"warnings": warnings}


def _document(job: StoredImport) -> Document:
    document = job.model_dump()
    document["_id"] = document.pop("import_id")
    return document


def _import(document: Document) -> StoredImport:
    fields = {name: value for name, value in document.items() if name in StoredImport.model_fields}
    return StoredImport.model_validate({**fields, "import_id": document["_id"]})

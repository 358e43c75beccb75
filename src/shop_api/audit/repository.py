"""The `audit` collection: written with the change that it tells about, never changed, never deleted."""

from shop_api.audit.models import AuditEntry, AuditQuery
from shop_api.kernel.pagination import Key
from shop_api.storage.mongo import keyset
from shop_api.storage.mongo.client import Database, Document, Session
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel

AUDIT = CollectionSpec(
    name="audit",
    schema={
        "bsonType": "object",
        "required": ["_id", "at", "action", "subject_id", "actor_id", "address", "request_id", "before", "after"],
        "properties": {
            "_id": {"bsonType": "string"},
            "at": {"bsonType": "date"},
            "action": {"bsonType": "string"},
            "subject_id": {"bsonType": "string"},
            "actor_id": {"bsonType": "string"},
            "before": {"bsonType": "object"},
            "after": {"bsonType": "object"},
        },
    },
    indexes=[
        IndexModel([*leading, ("at", -1), ("_id", -1)])
        for leading in ([], [("action", 1)], [("subject_id", 1)], [("actor_id", 1)])
    ],
)
_NEWEST = keyset.Sort("at", -1)


class AuditLog:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries = database[AUDIT.name]

    async def add(self, entry: AuditEntry, session: Session) -> None:
        """Writes `entry` in the transaction of the change that it tells about: there is neither without the other."""
        document = entry.model_dump()
        document["_id"] = document.pop("id")
        await self._entries.insert_one(document, session=session)

    async def list_page(self, query: AuditQuery, after: Key | None) -> tuple[list[AuditEntry], Key | None]:
        """A page of entries, the newest first, and the key of its last one, None when no more follow."""
        match = query.model_dump(include={"action", "subject_id", "actor_id"}, exclude_none=True)
        documents, key = await keyset.page(self._entries, keyset.Selection(match), _NEWEST, after, query.limit)
        return [_entry(document) for document in documents], key

    async def about(self, user_id: str) -> list[AuditEntry]:
        """All that concerns a user: what was done to them, and what they did."""
        entries = {}
        for role in ("subject_id", "actor_id"):
            async for document in self._entries.find({role: user_id}):
                entry = _entry(document)
                entries[entry.id] = entry
        return sorted(entries.values(), key=lambda entry: (entry.at, entry.id))


def _entry(document: Document) -> AuditEntry:
    document["id"] = document.pop("_id")
    return AuditEntry.model_validate(document)

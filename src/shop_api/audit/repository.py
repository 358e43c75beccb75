"""The `audit` collection: append-only, written in the transaction of the change that an entry records."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any

from uuid_utils import uuid7

from shop_api.audit.models import USER, AuditContext, AuditEntry, AuditEvent, AuditQuery
from shop_api.kernel.clock import Clock
from shop_api.kernel.pagination import Key
from shop_api.storage.mongo import keyset
from shop_api.storage.mongo.client import Database, Document, Session
from shop_api.storage.mongo.collections import BATCH_SIZE, CollectionSpec, IndexModel

AUDIT = CollectionSpec(
    name="audit",
    schema={
        "bsonType": "object",
        "required": ["_id", "at", "action", "subject_id", "actor_id", "address", "request_id", "before", "after"],
        "properties": {
            "_id": {"bsonType": "string"},
            "at": {"bsonType": "date"},
            "action": {"bsonType": "string"},
            "subject_type": {"bsonType": "string"},
            "subject_id": {"bsonType": "string"},
            "actor_id": {"bsonType": "string"},
            "before": {"bsonType": "object"},
            "after": {"bsonType": "object"},
        },
    },
    indexes=[
        IndexModel([*leading, ("at", -1), ("_id", -1)])
        for leading in ([], [("action", 1)], [("subject_type", 1)], [("subject_id", 1)], [("actor_id", 1)])
    ],
)
_NEWEST = keyset.Sort("at", -1)


class AuditLog:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._entries = database[AUDIT.name]
        self._clock = clock

    async def record(self, events: Iterable[AuditEvent], context: AuditContext, session: Session | None) -> None:
        """Write an entry for each event, in the transaction of the changes, so that both commit or neither does."""
        for event in events:
            entry = AuditEntry(
                id=str(uuid7()),
                at=self._clock(),
                actor_id=context.actor_id,
                address=context.address,
                request_id=context.request_id,
                **event._asdict(),
            )
            document = entry.model_dump()
            document["_id"] = document.pop("id")
            await self._entries.insert_one(document, session=session)

    async def list_page(self, query: AuditQuery, after: Key | None) -> tuple[list[AuditEntry], Key | None]:
        """Return a page of entries, newest first, and the key of its last item, or None on the last page."""
        match = query.model_dump(include={"action", "subject_id", "actor_id"}, exclude_none=True)
        if query.subject_type is not None:
            match["subject_type"] = _stored_types(query.subject_type)
        documents, key = await keyset.page(self._entries, keyset.Selection(match), _NEWEST, after, query.limit)
        return [_entry(document) for document in documents], key

    async def about(self, user_id: str) -> AsyncIterator[AuditEntry]:
        """Yield all entries about a user: changes to their account, and changes they made. Oldest first.

        Keeps one batch of each query in memory. The driver limits the time of each batch."""
        last = None
        async for entry in _merged(self._oldest({"subject_id": user_id}), self._oldest({"actor_id": user_id})):
            # An entry by the user about the user is in both queries, at the same place in the order.
            if entry.id != last and (entry.is_about_user(user_id) or entry.actor_id == user_id):
                yield entry
            last = entry.id

    async def _oldest(self, match: Document) -> AsyncIterator[AuditEntry]:
        # Without a batch size, MongoDB fills each batch up to 16 MiB.
        async for document in self._entries.find(match).sort([("at", 1), ("_id", 1)]).batch_size(BATCH_SIZE):
            yield _entry(document)


async def _merged(*sources: AsyncIterator[AuditEntry]) -> AsyncIterator[AuditEntry]:
    """Merge `sources`, each ordered by time and id, into one in that order."""
    heads = [(entry, source) for source in sources if (entry := await anext(source, None))]
    while heads:
        entry, source = heads.pop(min(range(len(heads)), key=lambda n: _order(heads[n][0])))
        yield entry
        if following := await anext(source, None):
            heads.append((following, source))


def _order(entry: AuditEntry) -> tuple[datetime, str]:
    return entry.at, entry.id


def _stored_types(subject_type: str) -> Any:
    """Return the filter for a subject type. Entries about users have none if stored before other types existed."""
    return {"$in": [USER, None]} if subject_type == USER else subject_type


def _entry(document: Document) -> AuditEntry:
    document["id"] = document.pop("_id")
    return AuditEntry.model_validate(document)

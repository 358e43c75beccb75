"""The `sessions` collection: address and times of each session, and the hash of its one unused refresh token.

The user's document, which every request reads anyway, lists the active sessions. This collection holds only their
details, and a TTL index removes expired ones.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from shop_api.features.auth.models import Session
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo import portable
from shop_api.storage.mongo.client import Database, Document
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel, not_restored

SESSIONS = CollectionSpec(
    name="sessions",
    schema={
        "bsonType": "object",
        "required": ["_id", "user_id", "family_hash", "secret_hash", "created_at", "last_used_at", "expires_at"],
        "properties": {
            "_id": {"bsonType": "string"},
            "user_id": {"bsonType": "string"},
            "family_hash": {"bsonType": "string"},
            "secret_hash": {"bsonType": "string"},
            "created_at": {"bsonType": "date"},
            "last_used_at": {"bsonType": "date"},
            "expires_at": {"bsonType": "date"},
        },
    },
    indexes=[IndexModel([("user_id", 1)]), IndexModel([("expires_at", 1)], expireAfterSeconds=0)],
    owner="user_id",
    erasure="delete",
    on_restore=not_restored,  # a session that was ended since the backup stays ended
)


class SessionRepository:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sessions = database[SESSIONS.name]

    async def add(self, session: Session, transaction: mongo.Session) -> None:
        document = session.model_dump()
        document["_id"] = document.pop("id")
        await self._sessions.insert_one(document, session=transaction)

    async def get(self, session_id: str) -> Session | None:
        document = await self._sessions.find_one({"_id": session_id})
        return _session(document) if document else None

    async def began_at(self, session_id: str) -> datetime | None:
        """Return the time of the sign-in that began this session, or None if it has ended."""
        session = await self.get(session_id)
        return session.created_at if session else None

    async def find_many(self, session_ids: Sequence[str]) -> list[Session]:
        """Return the sessions that exist, newest first."""
        documents = await self._sessions.find({"_id": {"$in": list(session_ids)}}).to_list(None)
        return sorted(map(_session, documents), key=lambda session: session.created_at, reverse=True)

    async def rotate(self, session: Session, secret_hash: str, used_at: datetime, expires_at: datetime) -> bool:
        """Replace the refresh token with hash `session.secret_hash` by the next one, and store the client that used
        it (compare-and-set). Exactly one of several concurrent calls returns True; False means it was used before."""
        new = {
            "secret_hash": secret_hash,
            "previous_hash": session.secret_hash,
            "last_used_at": used_at,
            "expires_at": expires_at,
            "address": session.address,
            "user_agent": session.user_agent,
        }
        unspent = {"secret_hash": session.secret_hash}
        return await portable.compare_and_set(self._sessions, session.id, unspent, new)

    async def remove(self, session_ids: Sequence[str], transaction: mongo.Session) -> None:
        await self._sessions.delete_many({"_id": {"$in": list(session_ids)}}, session=transaction)

    async def remove_others(
        self, user_id: str, kept: Collection[str] = (), session: mongo.Session | None = None
    ) -> None:
        """Delete the sessions of a user, except those with the ids `kept`."""
        if not kept:
            await self._sessions.delete_many({"user_id": user_id}, session=session)
            return
        await portable.delete_except(self._sessions, {"user_id": user_id}, kept, session)


def _session(document: Document) -> Session:
    document["id"] = document.pop("_id")
    return Session.model_validate(document)

"""The `sessions` collection: where and when each sign-in was, and the hash of its one unspent refresh token.

Which sessions are live is told by their user's document, which every request reads anyway; this collection only says
more about them, and what has expired here goes by itself.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from shop_api.features.auth.models import Session
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo import portable
from shop_api.storage.mongo.client import Database, Document
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel

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
)


class SessionRepository:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sessions = database[SESSIONS.name]

    async def add(self, session: Session) -> None:
        document = session.model_dump()
        document["_id"] = document.pop("id")
        await self._sessions.insert_one(document)

    async def get(self, session_id: str) -> Session | None:
        document = await self._sessions.find_one({"_id": session_id})
        return _session(document) if document else None

    async def find_many(self, session_ids: Sequence[str]) -> list[Session]:
        """Those that exist, the newest first."""
        documents = await self._sessions.find({"_id": {"$in": list(session_ids)}}).to_list(None)
        return sorted(map(_session, documents), key=lambda session: session.created_at, reverse=True)

    async def rotate(self, session: Session, secret_hash: str, used_at: datetime, expires_at: datetime) -> bool:
        """Spends the refresh token with the hash `session.secret_hash` for the next one, and notes where it was used;
        False if it was spent already. Of several at once one is True."""
        new = {
            "secret_hash": secret_hash,
            "last_used_at": used_at,
            "expires_at": expires_at,
            "address": session.address,
            "user_agent": session.user_agent,
        }
        unspent = {"secret_hash": session.secret_hash}
        return await portable.compare_and_set(self._sessions, session.id, unspent, new)

    async def remove(self, session_ids: Sequence[str]) -> None:
        await self._sessions.delete_many({"_id": {"$in": list(session_ids)}})

    async def remove_others(
        self, user_id: str, kept: Collection[str] = (), session: mongo.Session | None = None
    ) -> None:
        """Delete all of a user's, except those with the ids `kept`."""
        if not kept:
            await self._sessions.delete_many({"user_id": user_id}, session=session)
            return
        await portable.delete_except(self._sessions, {"user_id": user_id}, kept, session)


def _session(document: Document) -> Session:
    document["id"] = document.pop("_id")
    return Session.model_validate(document)

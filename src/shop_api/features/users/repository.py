"""The `users` collection: its documents, queries and indexes."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from shop_api.features.users.errors import DuplicateUsername, LastAdmin
from shop_api.features.users.models import User, UserQuery
from shop_api.kernel.pagination import Key
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo import keyset, portable
from shop_api.storage.mongo.by_id import DocumentsById
from shop_api.storage.mongo.client import Database, Document, Session
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel, erase


def _signed_out(user: Document) -> Document:
    return {**user, "sessions": []}


USERS = CollectionSpec(
    name="users",
    schema={
        "bsonType": "object",
        "required": [
            "_id",
            "username",
            "password_hash",
            "role",
            "disabled",
            "version",
            "created_at",
            "updated_at",
        ],
        "properties": {
            "_id": {"bsonType": "string"},
            "username": {"bsonType": "string", "minLength": 3, "maxLength": 32},
            "password_hash": {"bsonType": "string"},
            "role": {"enum": ["user", "admin"]},
            "disabled": {"bsonType": "bool"},
            "email": {"bsonType": ["string", "null"]},
            "email_verified": {"bsonType": "bool"},
            "sessions": {"bsonType": "array", "items": {"bsonType": "string"}},
            "full_name": {"bsonType": ["string", "null"]},
            "version": {"bsonType": ["int", "long"], "minimum": 1},
            "created_at": {"bsonType": "date"},
            "updated_at": {"bsonType": "date"},
        },
    },
    indexes=[
        IndexModel([("username", 1)], unique=True),
        IndexModel([("created_at", -1), ("_id", -1)]),
        IndexModel([("email_key", 1)]),
        IndexModel([("role", 1), ("disabled", 1), ("created_at", -1), ("_id", -1)]),
    ],
    on_restore=_signed_out,
)
# Transactions that must not run concurrently write the same document here, so that they conflict. The document is
# created at start-up, because a transaction cannot create a collection.
GUARDS = CollectionSpec(name="guards", documents=({"_id": "admins", "changes": 0},))
# One more session ends the oldest.
MAX_SESSIONS = 100
_ACTIVE_ADMIN = {"role": "admin", "disabled": False}
_SORTS = {
    "newest": keyset.Sort("created_at", -1),
    "username": keyset.Sort("username", 1),
    "-username": keyset.Sort("username", -1),
}


class UserRepository:
    def __init__(self, database: Database, owned: Sequence[CollectionSpec] = ()) -> None:
        """`owned` lists the collections of all features that hold documents owned by users."""
        self._database = database
        self._owned = owned
        self._users = database[USERS.name]
        self._by_id = DocumentsById(self._users)
        self._guards = database[GUARDS.name]

    async def get(self, user_id: str, session: Session | None = None) -> User | None:
        document = await self._by_id.get(user_id, session)
        return _user(document) if document else None

    async def find(self, username: str) -> User | None:
        document = await self._users.find_one({"username": username})
        return _user(document) if document else None

    async def find_by_email(self, email: str) -> list[User]:
        """Return all users with this address, verified or not, ignoring case."""
        documents = await self._users.find({"email_key": _folded(email)}).to_list(None)
        return [_user(document) for document in documents]

    async def list_page(self, query: UserQuery, after: Key | None) -> tuple[list[User], Key | None]:
        """Return a page of users and the key of its last item, or None on the last page."""
        selection = keyset.Selection(_match(query))
        documents, key = await keyset.page(self._users, selection, _SORTS[query.sort], after, query.limit)
        return [_user(document) for document in documents], key

    async def count(self, query: UserQuery) -> int:
        return await self._users.count_documents(_match(query))

    async def size(self) -> int:
        """Return the approximate number of users from collection metadata, without a scan."""
        return await self._users.estimated_document_count()

    async def add(self, user: User, session: Session | None = None) -> None:
        """Store a new user. Raises DuplicateUsername if the username is taken."""
        document = user.model_dump()
        document["_id"] = document.pop("id")
        document["email_key"] = _folded(user.email)
        try:
            await self._users.insert_one(document, session=session)
        except mongo.DuplicateKeyError:
            raise DuplicateUsername from None

    async def change(
        self, user: User, changes: Mapping[str, Any], now: datetime, session: Session | None = None
    ) -> User | None:
        """Apply `changes` to this version of `user` (compare-and-set). Return None, and write nothing, if this
        version is no longer current.

        Demoting or disabling an active admin requires `session`. Raises LastAdmin if no active admin would remain.
        """
        changed = user.model_copy(update={**changes, "version": user.version + 1, "updated_at": now})
        fields = {**changes, "version": changed.version, "updated_at": now}
        if "email" in changes:
            fields["email_key"] = _folded(changed.email)
        if _is_active_admin(user) and not _is_active_admin(changed):
            await self._require_another_admin(user, session)
        result = await self._users.update_one(_exactly(user), {"$set": fields}, session=session)
        return changed if result.matched_count else None

    async def remove(self, user: User, session: Session) -> bool:
        """Delete this version of `user` and all documents the user owns. Return False, and delete nothing, if this
        version is no longer current. Raises LastAdmin if no active admin would remain."""
        if _is_active_admin(user):
            await self._require_another_admin(user, session)
        if not (await self._users.delete_one(_exactly(user), session=session)).deleted_count:
            return False
        await erase(self._database, self._owned, user.id, session)
        return True

    async def open_session(self, user: User, session_id: str, session: Session) -> list[str] | None:
        """Add a session to `user`, in a transaction, and return all their sessions. Return None if the password has
        changed since it was verified, or the user has been deleted or disabled: such a change also ends a sign-in
        that is still in progress."""
        now = await self.get(user.id, session)
        if now is None or now.disabled or now.password_hash != user.password_hash:
            return None
        sessions = [*now.sessions, session_id][-MAX_SESSIONS:]
        await self._users.update_one({"_id": user.id}, {"$set": {"sessions": sessions}}, session=session)
        return sessions

    async def end_session(self, user_id: str, session_id: str, session: Session) -> bool:
        """End a session immediately. Return False if it is not active."""
        ended = await self._users.update_one({"_id": user_id}, {"$pull": {"sessions": session_id}}, session=session)
        return ended.modified_count == 1

    async def end_sessions(self, user_id: str, session: Session) -> None:
        """End all sessions of a user immediately."""
        await self._users.update_one({"_id": user_id}, {"$set": {"sessions": []}}, session=session)

    async def usernames(self, user_ids: Collection[str]) -> dict[str, str]:
        """Return usernames by user id, without ids that do not exist."""
        found = self._users.find({"_id": {"$in": list(user_ids)}}, {"username": 1})
        return {document["_id"]: document["username"] async for document in found}

    async def has_admin(self) -> bool:
        return await self._users.find_one(_ACTIVE_ADMIN) is not None

    async def _require_another_admin(self, user: User, session: Session | None) -> None:
        if session is None:
            raise ValueError("removing an active admin requires a transaction")
        # Every transaction that removes an admin writes this document, so that concurrent ones conflict.
        await self._guards.update_one({"_id": "admins"}, {"$inc": {"changes": 1}}, session=session)
        if await self._users.find_one({**_ACTIVE_ADMIN, "_id": {"$ne": user.id}}, session=session) is None:
            raise LastAdmin


def _is_active_admin(user: User) -> bool:
    return user.role == "admin" and not user.disabled


def _exactly(user: User) -> Document:
    return {"_id": user.id, "version": user.version}


def _folded(email: str | None) -> str | None:
    return email.casefold() if email else None


def _user(document: Document) -> User:
    fields = {**document, "id": document["_id"]}
    del fields["_id"]
    fields.pop("email_key", None)
    return User.model_validate(fields)


def _match(query: UserQuery) -> Document:
    match: Document = {}
    if query.role is not None:
        match["role"] = query.role
    if query.disabled is not None:
        match["disabled"] = query.disabled
    if query.q:
        match["username"] = portable.range_of_prefix(query.q.lower())
    return match

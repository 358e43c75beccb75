"""The `users` collection: its documents, queries and indexes."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from shop_api import keyset, mongo
from shop_api.errors import DuplicateUsername, LastAdmin
from shop_api.mongo import Database, Document, IndexModel, Session
from shop_api.pagination import Key
from shop_api.users.models import User, UserQuery

T = TypeVar("T")

_SCHEMA: Mapping[str, Any] = {
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
        "full_name": {"bsonType": ["string", "null"]},
        "version": {"bsonType": ["int", "long"], "minimum": 1},
        "created_at": {"bsonType": "date"},
        "updated_at": {"bsonType": "date"},
    },
}
_INDEXES = [
    IndexModel([("username", 1)], unique=True),
    IndexModel([("created_at", -1), ("_id", -1)]),
    IndexModel([("role", 1), ("disabled", 1), ("created_at", -1), ("_id", -1)]),
]
_ACTIVE_ADMIN = {"role": "admin", "disabled": False}
_SORTS = {
    "newest": keyset.Sort("created_at", -1),
    "username": keyset.Sort("username", 1),
    "-username": keyset.Sort("username", -1),
}


class UserRepository:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._users = database["users"]
        self._guards = database["guards"]

    async def prepare(self) -> None:
        await mongo.prepare(self._database, "users", _SCHEMA, _INDEXES)
        # Made here since a transaction on MongoDB is no place to make a collection.
        await self._guards.update_one({"_id": "admins"}, {"$setOnInsert": {"changes": 0}}, upsert=True)

    async def get(self, user_id: str) -> User | None:
        document = await self._users.find_one({"_id": user_id})
        return _user(document) if document else None

    async def find(self, username: str) -> User | None:
        document = await self._users.find_one({"username": username})
        return _user(document) if document else None

    async def list_page(self, query: UserQuery, after: Key | None) -> tuple[list[User], Key | None]:
        """A page of users and the key of its last one, None when no more follow."""
        selection = keyset.Selection(_match(query))
        documents, key = await keyset.page(self._users, selection, _SORTS[query.sort], after, query.limit)
        return [_user(document) for document in documents], key

    async def count(self, query: UserQuery) -> int:
        return await self._users.count_documents(_match(query))

    async def add(self, user: User) -> None:
        """Stores a new user; DuplicateUsername when the name is taken."""
        document = user.model_dump()
        document["_id"] = document.pop("id")
        try:
            await self._users.insert_one(document)
        except mongo.DuplicateKeyError:
            raise DuplicateUsername from None

    async def change(self, user: User, changes: Mapping[str, Any], now: datetime) -> User | None:
        """Applies `changes` to exactly this version of `user`; None when there is another by now.

        Raises LastAdmin if no active admin would be left.
        """
        changed = user.model_copy(update={**changes, "version": user.version + 1, "updated_at": now})

        async def write(session: Session | None) -> User | None:
            update = {"$set": {**changes, "version": changed.version, "updated_at": now}}
            result = await self._users.update_one(_exactly(user), update, session=session)
            return changed if result.matched_count else None

        if _is_active_admin(user) and not _is_active_admin(changed):
            return await self._leaving_an_admin(user, write)
        return await write(None)

    async def remove(self, user: User) -> bool:
        """Deletes exactly this version of `user`; False when there is another by now.

        Raises LastAdmin if no active admin would be left.
        """

        async def write(session: Session | None) -> bool:
            return (await self._users.delete_one(_exactly(user), session=session)).deleted_count == 1

        return await (self._leaving_an_admin(user, write) if _is_active_admin(user) else write(None))

    async def has_admin(self) -> bool:
        return await self._users.find_one(_ACTIVE_ADMIN) is not None

    async def _leaving_an_admin(self, user: User, write: Callable[[Session | None], Awaitable[T]]) -> T:
        async def work(session: Session) -> T:
            # All who would take an admin away write this one document, so that only one of them goes at a time.
            await self._guards.update_one({"_id": "admins"}, {"$inc": {"changes": 1}}, session=session)
            if await self._users.find_one({**_ACTIVE_ADMIN, "_id": {"$ne": user.id}}, session=session) is None:
                raise LastAdmin
            return await write(session)

        return await mongo.transaction(self._database, work)


def _is_active_admin(user: User) -> bool:
    return user.role == "admin" and not user.disabled


def _exactly(user: User) -> Document:
    return {"_id": user.id, "version": user.version}


def _user(document: Document) -> User:
    document["id"] = document.pop("_id")
    return User.model_validate(document)


def _match(query: UserQuery) -> Document:
    match: Document = {}
    if query.role is not None:
        match["role"] = query.role
    if query.disabled is not None:
        match["disabled"] = query.disabled
    if query.q:
        prefix = query.q.lower()
        match["username"] = {"$gte": prefix, "$lt": prefix + "\U0010ffff"}
    return match

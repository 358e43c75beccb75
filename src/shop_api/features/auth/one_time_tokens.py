"""The `one_time_tokens` collection: single-use tokens sent by e-mail. Only their hashes are stored."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, NamedTuple

from shop_api.features.users.models import User
from shop_api.kernel.clock import Clock
from shop_api.security.hashes import secret_digest
from shop_api.storage.mongo.client import Database, Document
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel, not_restored

MAX_TOKENS = 3
"""Valid tokens of one user for one purpose: as many as can be mailed in an hour."""
Purpose = Literal["verify", "reset"]
LIFETIMES: Mapping[Purpose, timedelta] = {"verify": timedelta(hours=24), "reset": timedelta(hours=1)}

ONE_TIME_TOKENS = CollectionSpec(
    name="one_time_tokens",
    schema={
        "bsonType": "object",
        "required": ["_id", "purpose", "user_id", "email", "password", "expires_at"],
        "properties": {"_id": {"bsonType": "string"}, "expires_at": {"bsonType": "date"}},
    },
    indexes=[IndexModel([("user_id", 1)]), IndexModel([("expires_at", 1)], expireAfterSeconds=0)],
    owner="user_id",
    erasure="delete",
    on_restore=not_restored,  # a token that was used since the backup stays used
)


class OneTimeToken(NamedTuple):
    """A stored, unexpired token. Valid only if it `fits` its user."""

    id: str
    user_id: str
    email: str
    password: str

    def fits(self, user: User) -> bool:
        """Return whether the address and password of `user` are unchanged since the token was sent."""
        return self.email == user.email and self.password == secret_digest(user.password_hash)


class OneTimeTokens:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._tokens = database[ONE_TIME_TOKENS.name]
        self._clock = clock

    async def make(self, purpose: Purpose, user: User) -> str:
        """Store and return a new token (256 bits). The user's newest MAX_TOKENS for this purpose are valid, so that a
        stranger who asks for one more does not void the one that the user is about to use."""
        token = secrets.token_urlsafe(32)
        await self._tokens.insert_one(
            {
                "_id": secret_digest(token),
                "purpose": purpose,
                "user_id": user.id,
                "email": user.email,
                "password": secret_digest(user.password_hash),
                "expires_at": self._clock() + LIFETIMES[purpose],
            }
        )
        await self._remove_old({"user_id": user.id, "purpose": purpose})
        return token

    async def _remove_old(self, tokens: Document) -> None:
        newest = self._tokens.find(tokens, {"_id": 1}).sort([("expires_at", -1), ("_id", 1)])
        old = [token["_id"] for token in (await newest.to_list(None))[MAX_TOKENS:]]
        if old:
            await self._tokens.delete_many({"_id": {"$in": old}})

    async def find(self, purpose: Purpose, token: str) -> OneTimeToken | None:
        """Return the token, or None if it is used, expired or unknown."""
        stored: Document | None = await self._tokens.find_one({"_id": secret_digest(token)})
        if stored is None or stored["purpose"] != purpose or stored["expires_at"] <= self._clock():
            return None
        return OneTimeToken(stored["_id"], stored["user_id"], stored["email"], stored["password"])

    async def spend(self, token: OneTimeToken) -> bool:
        """Consume the token. Exactly one of several concurrent calls returns True."""
        return (await self._tokens.delete_one({"_id": token.id})).deleted_count == 1

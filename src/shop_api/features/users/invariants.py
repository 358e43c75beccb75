"""Invariants of stored accounts."""

from collections.abc import AsyncIterator

from shop_api.features.feature import Invariant
from shop_api.features.users.repository import USERS
from shop_api.storage.mongo.client import Database


async def _not_folded(database: Database) -> AsyncIterator[str]:
    async for user in database[USERS.name].find({}, {"username": 1, "email": 1, "email_key": 1}):
        email = user.get("email")
        if user["username"] != user["username"].lower():
            yield f"users: the username of {user['_id']} is not in lower case"
        if user.get("email_key") != (email.casefold() if email else None):
            yield f"users: email_key of {user['_id']} does not match its e-mail address"


USERNAMES_ARE_FOLDED = Invariant(
    "usernames_are_folded", "Usernames are in lower case, and e-mail lookup ignores case.", _not_folded
)

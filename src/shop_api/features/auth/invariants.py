"""Invariants of stored sessions and one-time tokens."""

from collections.abc import AsyncIterator

from shop_api.features.auth.one_time_tokens import ONE_TIME_TOKENS
from shop_api.features.auth.repository import SESSIONS
from shop_api.features.feature import Invariant
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Database, Document


async def _without_user(database: Database) -> AsyncIterator[str]:
    for spec in (SESSIONS, ONE_TIME_TOKENS):
        pipeline: list[Document] = [
            {"$lookup": {"from": "users", "localField": spec.owner, "foreignField": "_id", "as": "users"}},
            {"$match": {"users": []}},
            {"$project": {"user_id": f"${spec.owner}"}},
        ]
        for document in await mongo.aggregate(database[spec.name], pipeline):
            yield f"{spec.name}: {document['_id'][:40]} belongs to {document['user_id']}, who does not exist"


SESSIONS_HAVE_USERS = Invariant(
    "sessions_have_users", "Every session and every one-time token belongs to an existing user.", _without_user
)

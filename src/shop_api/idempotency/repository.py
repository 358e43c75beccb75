"""The `idempotency_keys` collection: who has claimed which key for what, and what the answer was."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from shop_api import mongo
from shop_api.clock import Clock
from shop_api.errors import IdempotencyInProgress, IdempotencyKeyReused
from shop_api.mongo import Database, Document, IndexModel

KEPT = timedelta(hours=24)
# A request cannot run this long; one that has not finished by then has died.
_LEASE = timedelta(seconds=60)

_SCHEMA: Mapping[str, Any] = {
    "bsonType": "object",
    "required": ["_id", "request", "claimed_at", "expires_at"],
    "properties": {"_id": {"bsonType": "string"}, "expires_at": {"bsonType": "date"}},
}
_INDEXES = [IndexModel([("expires_at", 1)], expireAfterSeconds=0)]


class Answer(NamedTuple):
    """What a request was answered, to be repeated."""

    status: int
    headers: dict[str, str]
    body: bytes


class IdempotencyKeys:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._keys = database["idempotency_keys"]
        self._clock = clock

    async def prepare(self) -> None:
        await mongo.prepare(self._database, "idempotency_keys", _SCHEMA, _INDEXES)

    async def claim(self, claim_id: str, request: str) -> Answer | None:
        """Claims a key for the request with the digest `request`: None when it may run now, else its answer.

        Raises IdempotencyInProgress while the same request runs, IdempotencyKeyReused after another one.
        """
        while True:
            now = self._clock()
            claim = {"request": request, "claimed_at": now, "expires_at": now + KEPT}
            try:
                await self._keys.insert_one({"_id": claim_id, **claim})
                return None
            except mongo.DuplicateKeyError:
                earlier = await self._keys.find_one({"_id": claim_id})
            if earlier is None:  # given up a moment ago
                continue
            if earlier["expires_at"] > now:  # else it only waits to be removed
                if earlier["request"] != request:
                    raise IdempotencyKeyReused
                if "answer" in earlier:
                    return _answer(earlier["answer"])
                if earlier["claimed_at"] + _LEASE > now:
                    raise IdempotencyInProgress(retry_after=1)
            taken_over = {"$set": claim, "$unset": {"answer": ""}}
            unchanged = {"_id": claim_id, "claimed_at": earlier["claimed_at"]}
            if (await self._keys.update_one(unchanged, taken_over)).matched_count:
                return None

    async def store(self, claim_id: str, answer: Answer) -> None:
        await self._keys.update_one({"_id": claim_id}, {"$set": {"answer": answer._asdict()}})

    async def release(self, claim_id: str) -> None:
        """Gives a claim up, so that the request may be sent again."""
        await self._keys.delete_one({"_id": claim_id, "answer": {"$exists": False}})


def digest(*parts: str | bytes) -> str:
    """A name for `parts` that tells nothing about them."""
    hashed = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        hashed.update(len(raw).to_bytes(8, "big") + raw)
    return hashed.hexdigest()


def _answer(stored: Document) -> Answer:
    return Answer(stored["status"], stored["headers"], bytes(stored["body"]))

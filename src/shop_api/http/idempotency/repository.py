"""The `idempotency_keys` collection: who has claimed which key for what, and what the answer was."""

import asyncio
import hashlib
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from uuid_utils import uuid7

from shop_api.http.idempotency.errors import IdempotencyInProgress, IdempotencyKeyReused
from shop_api.kernel.clock import Clock
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Database, Document, PyMongoError
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel

KEPT = timedelta(hours=24)
# Who comes second is told to wait so long for who came first, which takes a fraction of that unless it has died. It
# is a courtesy, nothing depends on it: what two attempts at one claim create, they create under the same id.
LEASE = timedelta(seconds=5)
# To give a claim up is not worth more of the time of somebody who waits for an error.
_RELEASE_TIMEOUT = 1.0
_NOBODY = ""

IDEMPOTENCY_KEYS = CollectionSpec(
    name="idempotency_keys",
    schema={
        "bsonType": "object",
        "required": ["_id", "request", "claimed_at", "expires_at"],
        "properties": {"_id": {"bsonType": "string"}, "expires_at": {"bsonType": "date"}},
    },
    indexes=[IndexModel([("expires_at", 1)], expireAfterSeconds=0)],
)


class StoredResponse(NamedTuple):
    """What a request was answered, to be repeated."""

    status: int
    headers: dict[str, str]
    body: bytes


class Claim(NamedTuple):
    """The right to carry out a request."""

    id: str
    attempt: str
    """Names this try to carry it out."""
    new_id: str
    """What the request creates is known by this UUID, which all attempts at it have in common."""
    is_first: bool
    """Nobody has tried before."""


class IdempotencyKeys:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._keys = database[IDEMPOTENCY_KEYS.name]
        self._clock = clock

    async def claim(self, claim_id: str, request: str, attempt: str) -> Claim | StoredResponse:
        """Claims a key for the request with the digest `request`: the claim when it may run now, else its answer.

        The same `attempt` again means that who passed it on has given up waiting for the instance that runs it, which
        may be dead. It need not wait: it takes the claim over.

        Raises IdempotencyInProgress while the same request runs, IdempotencyKeyReused after another one.
        """
        try:
            return await self._claim(claim_id, request, attempt)
        except PyMongoError:  # it may have been claimed all the same
            await self.release(Claim(claim_id, attempt, "", is_first=False), undone=False)
            raise

    async def _claim(self, claim_id: str, request: str, attempt: str) -> Claim | StoredResponse:
        while True:
            now = self._clock()
            claim: Document = {
                "request": request,
                "attempt": attempt,
                "creation": str(uuid7()),
                "claimed_at": now,
                "expires_at": now + KEPT,
            }
            try:
                await self._keys.insert_one({"_id": claim_id, **claim})
                return Claim(claim_id, attempt, claim["creation"], is_first=True)
            except mongo.DuplicateKeyError:
                earlier = await self._keys.find_one({"_id": claim_id})
            if earlier is None:  # given up a moment ago
                continue
            if earlier["expires_at"] > now:  # else it only waits to be removed
                if earlier["request"] != request:
                    raise IdempotencyKeyReused
                if "answer" in earlier:
                    return _stored(earlier["answer"])
                if earlier["attempt"] not in (attempt, _NOBODY) and earlier["claimed_at"] + LEASE > now:
                    raise IdempotencyInProgress(retry_after=1)
                claim["creation"] = earlier["creation"]
            taken_over = {"$set": claim, "$unset": {"answer": ""}}
            unchanged = {name: earlier[name] for name in ("_id", "attempt", "claimed_at")}
            if (await self._keys.update_one(unchanged, taken_over)).matched_count:
                return Claim(claim_id, attempt, claim["creation"], is_first=False)

    async def store(self, claim: Claim, response: StoredResponse) -> None:
        await self._keys.update_one({"_id": claim.id}, {"$set": {"answer": response._asdict()}})

    async def release(self, claim: Claim, *, undone: bool) -> None:
        """Gives a claim up, so that the request may be sent again; as another one too if it is certain that this one
        has had no effect (`undone`). If that fails, it takes the lease."""
        mine = {"_id": claim.id, "attempt": claim.attempt, "answer": {"$exists": False}}
        with suppress(TimeoutError), mongo.time_limit(_RELEASE_TIMEOUT):
            async with asyncio.timeout(_RELEASE_TIMEOUT):
                while True:
                    try:
                        if undone and claim.is_first:
                            await self._keys.delete_one(mine)
                        else:
                            await self._keys.update_one(mine, {"$set": {"attempt": _NOBODY}})
                        return
                    except PyMongoError:  # most likely the reason for which it is given up
                        await asyncio.sleep(0.1)


def digest(*parts: str | bytes) -> str:
    """A name for `parts` that tells nothing about them."""
    hashed = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        hashed.update(len(raw).to_bytes(8, "big") + raw)
    return hashed.hexdigest()


def _stored(stored: Document) -> StoredResponse:
    return StoredResponse(stored["status"], stored["headers"], bytes(stored["body"]))

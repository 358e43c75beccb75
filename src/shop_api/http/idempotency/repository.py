"""The `idempotency_keys` collection: which request has claimed a key, and the response to it."""

import asyncio
import hashlib
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from uuid_utils import uuid7

from shop_api.http.idempotency.errors import IdempotencyInProgress, IdempotencyKeyReused
from shop_api.kernel.clock import Clock
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.attempts import AlreadyCreated
from shop_api.storage.mongo.client import Database, Document, PyMongoError, Session
from shop_api.storage.mongo.collections import CollectionSpec, IndexModel

KEPT = timedelta(hours=24)
# While a first attempt is younger than this, a second one gets IdempotencyInProgress. An attempt takes a fraction of
# it unless its instance has died. Correctness does not depend on the lease: the transaction that creates the resource
# records it in the claim, so that one of several attempts does.
LEASE = timedelta(seconds=5)
# Limits the time for which releasing a claim delays the error response.
_RELEASE_TIMEOUT = 1.0
# How often, and after how many seconds each, an attempt looks whether another one that is in its way has committed.
_COMMIT_CHECKS, _COMMIT_PAUSE = 20, 0.05
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
    """The response to a completed request, to be replayed."""

    status: int
    headers: dict[str, str]
    body: bytes


class Claim(NamedTuple):
    """The right to execute a request."""

    id: str
    attempt: str
    """Identifies this attempt to execute the request."""
    new_id: str
    """The UUID of the resource to create, the same for all attempts at the claim."""
    is_first: bool
    """Whether there was no earlier attempt."""


class KeyedAttempt:
    """One of the attempts with the same key."""

    is_keyed = True

    def __init__(self, keys: "IdempotencyKeys", claim: Claim) -> None:
        self._keys = keys
        self._claim = claim
        self.new_id = claim.new_id

    async def earlier(self) -> Document | None:
        return None if self._claim.is_first else await self._keys.created(self._claim)

    async def concurrent(self) -> Document | None:
        for _ in range(_COMMIT_CHECKS):
            if (created := await self._keys.created(self._claim)) or not await self._keys.has_rivals(self._claim):
                return created
            await asyncio.sleep(_COMMIT_PAUSE)
        return None

    async def record(self, created: Document, session: Session) -> None:
        await self._keys.record(self._claim, created, session)


class IdempotencyKeys:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._keys = database[IDEMPOTENCY_KEYS.name]
        self._clock = clock

    async def claim(self, claim_id: str, request: str, attempt: str) -> Claim | StoredResponse:
        """Claim a key for the request with the digest `request`. Return the stored response if there is one.

        A repeated `attempt` means that the proxy has stopped waiting for the instance that executed it, which may be
        dead. The claim is then taken over at once, without waiting for the lease.

        Raises IdempotencyInProgress while another attempt holds the lease, and IdempotencyKeyReused if the key was
        claimed for a different request.
        """
        try:
            return await self._claim(claim_id, request, attempt)
        except PyMongoError:  # the write may have taken effect nevertheless
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
            if earlier is None:  # released since the insert
                continue
            no_longer = {"answer": "", "created": ""}
            if earlier["expires_at"] > now:  # otherwise expired, and not yet removed by the TTL index
                if earlier["request"] != request:
                    raise IdempotencyKeyReused
                if "answer" in earlier:
                    return _stored(earlier["answer"])
                if earlier["attempt"] not in (attempt, _NOBODY) and earlier["claimed_at"] + LEASE > now:
                    raise IdempotencyInProgress(retry_after=1)
                claim["creation"] = earlier["creation"]
                del no_longer["created"]
            taken_over = {"$set": claim, "$unset": no_longer}
            unchanged = {name: earlier[name] for name in ("_id", "attempt", "claimed_at")}
            if (await self._keys.update_one(unchanged, taken_over)).matched_count:
                return Claim(claim_id, attempt, claim["creation"], is_first=False)

    async def created(self, claim: Claim) -> Document | None:
        """Return the resource as an attempt at this claim created it, or None."""
        stored = await self._keys.find_one({"_id": claim.id}, {"creation": 1, "created": 1})
        if stored is None or stored["creation"] != claim.new_id:  # expired, and claimed for another request
            return None
        created: Document | None = stored.get("created")
        return created

    async def has_rivals(self, claim: Claim) -> bool:
        """Return whether there has been another attempt at this claim."""
        stored = await self._keys.find_one({"_id": claim.id}, {"attempt": 1})
        return not claim.is_first or stored is None or stored["attempt"] != claim.attempt

    async def record(self, claim: Claim, created: Document, session: Session) -> None:
        """Store how the resource was created. Raises AlreadyCreated if another attempt did."""
        stored = await self._keys.find_one({"_id": claim.id}, {"answer": 0}, session=session)
        if stored is None or stored["creation"] != claim.new_id or "created" in stored:
            raise AlreadyCreated
        await self._keys.update_one({"_id": claim.id}, {"$set": {"created": created}}, session=session)

    async def store(self, claim: Claim, response: StoredResponse) -> None:
        await self._keys.update_one({"_id": claim.id}, {"$set": {"answer": response._asdict()}})

    async def release(self, claim: Claim, *, undone: bool) -> None:
        """Release a claim, so that the request can be retried at once. If it certainly had no effect (`undone`) and
        was the first attempt, the key can also be used for a different request. If releasing fails, a retry must wait
        for the lease to expire."""
        mine = {"_id": claim.id, "attempt": claim.attempt, "answer": {"$exists": False}}
        with suppress(TimeoutError), mongo.time_limit(_RELEASE_TIMEOUT):
            async with asyncio.timeout(_RELEASE_TIMEOUT):
                while True:
                    try:
                        if undone and claim.is_first:
                            await self._keys.delete_one({**mine, "created": {"$exists": False}})
                        else:
                            await self._keys.update_one(mine, {"$set": {"attempt": _NOBODY}})
                        return
                    except PyMongoError:  # probably the same failure that caused the release
                        await asyncio.sleep(0.1)


def digest(*parts: str | bytes) -> str:
    """Return a one-way digest (SHA-256) of `parts`, unambiguous about where each part ends."""
    hashed = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        hashed.update(len(raw).to_bytes(8, "big") + raw)
    return hashed.hexdigest()


def _stored(stored: Document) -> StoredResponse:
    return StoredResponse(stored["status"], stored["headers"], bytes(stored["body"]))

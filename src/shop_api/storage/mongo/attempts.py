"""Attempts at one request to create a resource, which together create it once."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from uuid_utils import uuid7

from shop_api.storage.mongo.client import Document, Session
from shop_api.storage.mongo.transactions import Transactions


class AlreadyCreated(Exception):
    """Another attempt has created the resource."""


class Attempt(Protocol):
    """One attempt to create a resource. There may be others, before it or at the same time."""

    @property
    def new_id(self) -> str:
        """A UUID for the resource, the same for all attempts."""
        ...

    @property
    def is_keyed(self) -> bool:
        """Whether there may be other attempts."""
        ...

    async def earlier(self) -> Document | None:
        """Return the resource as an earlier attempt created it, or None."""
        ...

    async def concurrent(self) -> Document | None:
        """Return the resource as another attempt created it, which may be about to commit, or None."""
        ...

    async def record(self, created: Document, session: Session) -> None:
        """Store how the resource was created, in the transaction that creates it. Raises AlreadyCreated if another
        attempt did."""
        ...


class OnlyAttempt:
    """The only attempt at a request."""

    is_keyed = False

    def __init__(self) -> None:
        self.new_id = str(uuid7())

    async def earlier(self) -> Document | None:
        return None

    async def concurrent(self) -> Document | None:
        return None

    async def record(self, created: Document, session: Session) -> None:
        """Do nothing: nobody will ask."""


async def create_once(
    attempt: Attempt,
    transactions: Transactions,
    create: Callable[[Session], Awaitable[Document]],
    taken: type[Exception],
) -> Document:
    """Return the result of `create`, run in a transaction, or what an earlier attempt created, whatever has happened
    to that resource since. Raises `taken`, the error of `create` for an identifier in use, unless an attempt at the
    same request uses it."""

    async def work(session: Session) -> Document:
        created = await create(session)
        await attempt.record(created, session)
        return created

    if earlier := await attempt.earlier():
        return earlier
    try:
        return await transactions.run(work)
    except (AlreadyCreated, taken):
        if other := await attempt.concurrent():
            return other
        raise

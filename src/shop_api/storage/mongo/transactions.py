"""Transactions: a service opens one and passes its session to the repositories."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pymongo
from pymongo.errors import NetworkTimeout

from shop_api.storage.mongo.client import Database, Session, awaited

__all__ = ["Session", "Transactions"]

T = TypeVar("T")


class Transactions:
    """Runs transactions on one database, each limited to `seconds`: by default those of a single operation."""

    def __init__(self, database: Database, seconds: float | None = None) -> None:
        self._database = database
        self._seconds = database.client.options.timeout if seconds is None else seconds

    async def run(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run `work` in a transaction: either all or none of its writes with the session are stored.

        `work` is called again after a write conflict or a change of primary, so it must have no other effects. Raises
        PyMongoError if all attempts together exceed the time limit.
        """
        session: Session = await awaited(self._database.client.start_session())
        try:
            # The drivers retry for up to two minutes.
            async with session, asyncio.timeout(self._seconds):
                with pymongo.timeout(self._seconds):
                    return await session.with_transaction(work)
        except TimeoutError:
            raise NetworkTimeout("the transaction took too long") from None

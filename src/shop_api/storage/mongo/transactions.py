"""Transactions: a service opens one, and the repositories that take part join it by its session."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pymongo
from pymongo.errors import NetworkTimeout

from shop_api.storage.mongo.client import OPERATION_TIMEOUT_MS, Database, Session, awaited

__all__ = ["Session", "Transactions"]

T = TypeVar("T")


class Transactions:
    """Transactions on one database, each of which ends within `seconds`."""

    def __init__(self, database: Database, seconds: float = OPERATION_TIMEOUT_MS / 1000) -> None:
        self._database = database
        self._seconds = seconds

    async def run(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run `work` in a transaction: all that it writes with the session is stored, or nothing.

        `work` is called again when the transaction met another one, so it has no other effects. Raises PyMongoError
        if all attempts together take too long.
        """
        session: Session = await awaited(self._database.client.start_session())
        try:
            # The drivers would try again for two minutes.
            async with session, asyncio.timeout(self._seconds):
                with pymongo.timeout(self._seconds):
                    return await session.with_transaction(work)
        except TimeoutError:
            raise NetworkTimeout("the transaction took too long") from None

"""Work whose result is shared by all who need it at about the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar

from shop_api.kernel import tasks

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs `work` at most once at a time, and gives its result to everyone who asks until `seconds` after its end.

    A caller that is cancelled does not cancel the work, which others may wait for.
    """

    def __init__(self, work: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._work = work
        self._seconds = seconds
        self._task: asyncio.Task[T] | None = None
        self._fresh_until = float("-inf")

    async def get(self) -> T:
        """Return a result that is at most `seconds` old. Raises what `work` raises; an error is not kept."""
        task = self._task
        if task is None or (task.done() and monotonic() >= self._fresh_until):
            task = self._task = asyncio.create_task(self._run())
        return await asyncio.shield(task)

    async def _run(self) -> T:
        self._fresh_until = float("-inf")
        result = await self._work()
        self._fresh_until = monotonic() + self._seconds
        return result

    async def close(self) -> None:
        """Cancel the work if it is running."""
        if self._task is not None:
            await tasks.end([self._task])

"""A clock that goes only while this process gets to run, for what may take only so long on any machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_TICK = 0.01


class OwnTime:
    """How long something took: at most the time of a clock on the wall, and less where the process was held up."""

    def __init__(self) -> None:
        self._ticks = 0

    @property
    def seconds(self) -> float:
        return self._ticks * _TICK

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._ticks += 1


@asynccontextmanager
async def own_time() -> AsyncIterator[OwnTime]:
    """Of the block, as a task beside it has it, which can come round only as often as the event loop does."""
    spent = OwnTime()
    running = asyncio.create_task(spent._run())
    try:
        yield spent
    finally:
        running.cancel()

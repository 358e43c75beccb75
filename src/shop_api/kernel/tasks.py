"""Cancellation of background tasks."""

import asyncio
from collections.abc import Iterable
from typing import Any


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait until all have ended. Their results and errors are discarded.

    Cancels repeatedly: before Python 3.12 `asyncio.wait_for`, which the drivers and the SMTP client use, loses a
    cancellation that arrives just as the awaited future completes (python/cpython#86296).
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=0.1)
        for task in ended:
            if not task.cancelled():
                task.exception()  # avoids "exception was never retrieved"

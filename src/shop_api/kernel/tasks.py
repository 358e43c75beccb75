"""Tasks that go on beside the requests, and how they end."""

import asyncio
from collections.abc import Iterable
from typing import Any


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels all of them and returns once all have ended, in whatever way.

    Cancels again and again: before Python 3.12 `asyncio.wait_for`, which the drivers and the SMTP client are built
    on, loses a cancellation that comes at the moment when what it waits for is done (python/cpython#86296).
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=0.1)
        for task in ended:
            if not task.cancelled():
                task.exception()  # or it would be reported as never retrieved

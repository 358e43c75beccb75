"""Attempts that are delayed after failures."""

from collections.abc import Awaitable, Callable

from shop_api.security.sign_in_delays import PAIR

FREE = PAIR.free + 1
"""Failures that are let through before one has to wait, if they follow each other at once."""
MOST = FREE + 10
"""On a busy machine a delay may have ended before the next attempt. Delays double, so one is soon long enough."""


async def before_a_delay(attempt: Callable[[int], Awaitable[int]]) -> list[int]:
    """The statuses of attempts until one is 429, or more than MOST."""
    statuses: list[int] = []
    while len(statuses) <= MOST:
        status = await attempt(len(statuses))
        if status == 429:
            break
        statuses.append(status)
    return statuses

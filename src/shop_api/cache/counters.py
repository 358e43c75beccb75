"""Counts of cache events since the process started."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    memory_hits: int = 0
    redis_hits: int = 0
    misses: int = 0
    """Requests that neither tier could serve."""
    fills: int = 0
    """Fills that called the application, each for all requests that waited for it."""
    waits: int = 0
    """Requests that joined a fill started by another request."""
    bypasses: int = 0
    """Requests with a token that got a response of their own."""
    invalidations: int = 0
    redis_failures: int = 0
    epochs: int = 0
    """Epochs started, each of which invalidates every response in Redis."""

"""What the cache has done since the process began."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    memory_hits: int = 0
    redis_hits: int = 0
    misses: int = 0
    """Answers that neither tier had."""
    fills: int = 0
    """How often an answer was made: one for all who waited for it."""
    waits: int = 0
    """Requests that waited for the fill of another one."""
    bypasses: int = 0
    """Requests whose answer was made for them alone."""
    invalidations: int = 0
    redis_failures: int = 0
    epochs: int = 0
    """How often all that Redis held was given up."""

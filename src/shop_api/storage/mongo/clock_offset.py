"""How far the clock of this machine is from MongoDB's.

Tokens, sessions and idempotency keys end by the clock of the instance that checks them, and heartbeats and leases by
MongoDB's. Instances whose clocks differ disagree about what is valid.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from shop_api.kernel.clock import Clock
from shop_api.storage.mongo.client import Database
from shop_api.storage.mongo.leases import server_time

MAX_SECONDS = 60
"""An offset beyond this is worth a warning. Clocks that NTP keeps differ by milliseconds."""


class Comparison(NamedTuple):
    """MongoDB's time, and the offset of this machine's clock from it."""

    server_time: datetime
    offset_seconds: float
    """Positive if this machine's clock is ahead. At least as large in truth: the reply takes time."""

    @property
    def is_wrong(self) -> bool:
        return abs(self.offset_seconds) > MAX_SECONDS

    @property
    def in_words(self) -> str:
        direction = "ahead of" if self.offset_seconds > 0 else "behind"
        return f"{abs(self.offset_seconds):,.0f} s {direction} MongoDB's"


async def compare(database: Database, clock: Clock) -> Comparison:
    """Compare `clock` with MongoDB's. Raises PyMongoError if MongoDB does not respond."""
    before = clock()
    now = await server_time(database)
    return Comparison(now, smallest_offset(before, now, clock()).total_seconds())


def smallest_offset(before: datetime, server: datetime, after: datetime) -> timedelta:
    """Return the offset nearest to zero with which a clock that shows `before` and `after` can have been read around
    the moment `server`. So a reply that is slow is not taken for a clock that is wrong."""
    return min(max(before - server, timedelta(0)), after - server)

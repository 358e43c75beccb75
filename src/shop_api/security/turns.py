"""A queue for a shared resource in which no client can take the places of others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from shop_api.kernel.errors import RateLimited

MAX_PER_CLIENT = 5
"""Requests of one client: one in the queue, and the others behind it. Several people may share an address."""
LOCAL = "local"
"""The client of work that no request asked for, which is not limited."""
_RETRY_AFTER = 1


@dataclass(slots=True)
class _Line:
    """The requests of one client, of which only the first is in the queue."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class Turns:
    """Admits up to `clients` clients, one request of each at a time. `limited=False` admits all requests at once."""

    def __init__(self, clients: int, *, limited: bool = True) -> None:
        self._clients = clients
        self._limited = limited
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def of(self, client: str) -> AsyncIterator[None]:
        """Wait for the earlier requests of `client`. Raises RateLimited at once if too many of them wait, or too many
        clients."""
        if not self._limited or client == LOCAL:
            yield
            return
        line = self._joined(client)
        try:
            async with line.lock:
                yield
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[client]

    def _joined(self, client: str) -> _Line:
        line = self._lines.get(client)
        if line is None:
            if len(self._lines) >= self._clients:
                raise RateLimited(_RETRY_AFTER)
            line = self._lines[client] = _Line()
        elif line.length >= MAX_PER_CLIENT:
            raise RateLimited(_RETRY_AFTER)
        line.length += 1
        return line

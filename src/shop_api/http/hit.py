"""A response that is ready to send."""

from typing import NamedTuple

Headers = list[tuple[bytes, bytes]]


class Hit(NamedTuple):
    """A cached response from memory, found before any inner layer ran."""

    route: object
    status: int
    headers: Headers
    """Shared between requests; do not modify."""
    body: bytes

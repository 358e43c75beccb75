"""An answer that only has to be sent."""

from typing import NamedTuple

Headers = list[tuple[bytes, bytes]]


class Hit(NamedTuple):
    """An answer from memory, found before any other layer ran."""

    route: object
    status: int
    headers: Headers
    """Not to be changed."""
    body: bytes

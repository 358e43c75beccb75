"""Lists in pages: opaque, signed cursors that name the last item seen (keyset pagination)."""

import base64
import hashlib
import hmac
import json
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field

from shop_api.kernel.errors import FieldError, InvalidRequest
from shop_api.kernel.schema import Schema

T = TypeVar("T")

_SIGNATURE_BYTES = 16

Limit = Annotated[int, Field(ge=1, le=100, description="How many items at most.")]
CursorText = Annotated[
    str,
    Field(min_length=1, max_length=2048, description="`next_cursor` of the page before, with the same query."),
]
IncludeTotal = Annotated[bool, Field(description="Also count all matches, which costs time.")]


class Page(Schema, Generic[T]):
    """A part of a list, in order."""

    items: list[T]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last one."""
    total: int | None = None
    """How many match in all; only when asked for with `include_total=true`."""


Key = list[Any]
"""The sort values of one item, ending with its id. JSON values only."""


class Cursors:
    """Makes and reads cursors. A cursor is bound to the query it came from, and a changed one is refused."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hmac.digest(secret, b"shop_api cursors", "sha256")

    def encode(self, query: str, key: Key) -> str:
        return self._sealed(query, json.dumps(key, separators=(",", ":")).encode())

    def decode(self, query: str, cursor: str) -> Key:
        """The key inside `cursor`; InvalidRequest if it is damaged or belongs to another query."""
        try:
            given = cursor.encode()
            payload = base64.urlsafe_b64decode(given + b"=" * (-len(given) % 4))[_SIGNATURE_BYTES:]
            # The text as a whole, since base64 has several spellings of the same bytes.
            genuine = hmac.compare_digest(self._sealed(query, payload).encode(), given)
        except ValueError:
            genuine = False
        if not genuine:
            message = "not a cursor of this query; start again without one"
            raise InvalidRequest([FieldError(("query", "cursor"), "invalid_cursor", message)])
        key: Key = json.loads(payload)
        return key

    def _sealed(self, query: str, payload: bytes) -> str:
        signed = hashlib.sha256(query.encode()).digest() + payload
        signature = hmac.digest(self._secret, signed, "sha256")[:_SIGNATURE_BYTES]
        return base64.urlsafe_b64encode(signature + payload).decode().rstrip("=")

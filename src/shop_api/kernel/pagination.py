"""Keyset pagination: pages, and opaque, signed cursors that encode the sort key of the last item."""

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

Limit = Annotated[int, Field(ge=1, le=100, description="Maximum number of items.")]
CursorText = Annotated[
    str,
    Field(min_length=1, max_length=2048, description="`next_cursor` of the previous page of the same query."),
]
IncludeTotal = Annotated[bool, Field(description="Also count all matches, which takes longer.")]


class Page(Schema, Generic[T]):
    """One page of a sorted list."""

    items: list[T]
    next_cursor: str | None
    """Send it as `cursor` to get the next page; null on the last page."""
    total: int | None = None
    """Number of all matches; only with `include_total=true`."""


Key = list[Any]
"""The sort values of one item, ending with its id. JSON values only."""


class Cursors:
    """Encodes and decodes cursors. A cursor is signed and bound to its query, so a modified one is rejected."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hmac.digest(secret, b"shop_api cursors", "sha256")

    def encode(self, query: str, key: Key) -> str:
        return self._sealed(query, json.dumps(key, separators=(",", ":")).encode())

    def decode(self, query: str, cursor: str) -> Key:
        """Return the key in `cursor`. Raise InvalidRequest if it is malformed or belongs to another query."""
        try:
            raw = cursor.encode()
            payload = base64.urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))[_SIGNATURE_BYTES:]
            # Compare the whole text, since several base64 texts decode to the same bytes.
            genuine = hmac.compare_digest(self._sealed(query, payload).encode(), raw)
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

"""Ids made from what other systems use to identify products, and which stored product a variant of a file is.

An id made from a text is injective: two different texts never get the same id.
"""

import hashlib
import json
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError
from slugify import slugify

from shop_api.features.products.fields import ProductId

_MAX_LENGTH = 64
_DIGITS = 8
_is_id = TypeAdapter(ProductId).validate_python


def id_of(text: str) -> str:
    """Return `text` if it is a valid id, else a slug of it and 8 hexadecimal digits of its SHA-256 hash."""
    try:
        return _is_id(text)
    except ValidationError:
        return _hashed(text, text)


def _hashed(readable: str, identity: str) -> str:
    digits = hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()[:_DIGITS]
    slug = slugify(readable, max_length=_MAX_LENGTH - _DIGITS - 1)
    return f"{slug}-{digits}" if slug else digits


class Variant(NamedTuple):
    """What identifies a variant in a file of another system."""

    handle: str
    """What all variants of one article have in common."""
    sku: str | None
    values: tuple[str, ...]
    """The values of its options."""
    position: int
    """Its place among the variants of the handle, from 1."""
    is_single: bool
    """Whether the handle has no other variant."""
    is_unique: bool
    """Whether no other row of the file would get the id `plain_id`."""

    @property
    def plain_id(self) -> str | None:
        """The id made from the SKU, or from the handle of a single variant. None if neither identifies it."""
        if self.sku is not None:
            return id_of(self.sku)
        return id_of(self.handle) if self.is_single else None

    @property
    def full_id(self) -> str:
        """An id made from all that identifies the variant."""
        readable = "-".join([self.sku or self.handle, *self.values])
        return _hashed(readable, json.dumps([self.handle, self.sku, *self.values]))

    def ids(self) -> list[str]:
        """Return all ids under which the variant could be stored."""
        return [id_ for id_ in dict.fromkeys([self.plain_id, id_of(self.handle), self.full_id]) if id_]

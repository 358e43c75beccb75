"""Migrations of the products collection."""

from typing import Any

from shop_api.features.products.repository import PRODUCTS, document_of, product_of
from shop_api.kernel.schema import normalized_line, normalized_text
from shop_api.storage.mongo import portable
from shop_api.storage.mongo.client import Database, Document
from shop_api.storage.mongo.schema import Migration

_BATCH = 500
_TEXTS = {"name": normalized_line, "brand": normalized_line, "description": normalized_text}


async def _normalize_texts(database: Database, position: Any) -> Any:
    after: Document = {} if position is None else {"_id": {"$gt": position}}
    documents = await database[PRODUCTS.name].find(after).sort("_id", 1).limit(_BATCH).to_list(None)
    for document in documents:
        texts = {name: normalized(document[name]) for name, normalized in _TEXTS.items() if name in document}
        texts["attributes"] = _normalized_attributes(document.get("attributes") or {})
        if any(document.get(name) != text for name, text in texts.items()):
            # A new version, since a client that holds the old one must not change this one unseen. If somebody else
            # has changed the product in the meantime, that change has normalized it.
            product = product_of({name: value for name, value in {**document, **texts}.items() if name != "words"})
            product.version += 1
            await portable.replace_version(database[PRODUCTS.name], document_of(product))
    return documents[-1]["_id"] if len(documents) == _BATCH else None


def _normalized_attributes(attributes: Document) -> Document:
    """Return `attributes` in normal form, or unchanged if one would replace another."""
    result = {normalized_line(name): normalized_text(value) for name, value in attributes.items()}
    return result if len(result) == len(attributes) else attributes


MIGRATIONS = (Migration(1, "normalize the texts of products (NFC, trimmed)", _normalize_texts, background=True),)

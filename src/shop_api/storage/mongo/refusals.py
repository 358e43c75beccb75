"""What MongoDB refuses, in words and with a remedy if one is known."""

import re
from collections.abc import Mapping
from typing import Any

from pymongo.errors import BulkWriteError, OperationFailure

from shop_api.storage.mongo.client import Database, PyMongoError, brief_message
from shop_api.storage.mongo.collections import CollectionSpec
from shop_api.storage.mongo.schema import SchemaError

_UNAUTHORIZED = 13
_INDEX_CONFLICTS = (85, 86)
_DUPLICATE_KEY = 11000
_INVALID_DOCUMENT = 121
_INDEX_NAME = re.compile(r"index: (\S+)")


def explained(error: PyMongoError, database: Database, spec: CollectionSpec | None) -> Exception:
    """Return a SchemaError for a refused preparation or migration if a remedy is known, otherwise `error`."""
    code = error.code if isinstance(error, OperationFailure) else None
    if code == _UNAUTHORIZED:
        return SchemaError(
            f"MongoDB refuses: {brief_message(error)}: the user in SHOP_MONGO_URL needs the roles readWrite and"
            f' dbAdmin on {database.name}: db.grantRolesToUser(USER, [{{role: "readWrite", db: "{database.name}"}},'
            f' {{role: "dbAdmin", db: "{database.name}"}}])'
        )
    if code in _INDEX_CONFLICTS and spec:
        return SchemaError(
            f"an index of {spec.name} that the service did not make is in the way of one that it needs: drop it or"
            f" give it another name, then repeat the command ({brief_message(error)})"
        )
    if code == _DUPLICATE_KEY and spec:
        return SchemaError(
            f"documents of {spec.name} are the same where the index {_index_name(str(error))} allows only one: change"
            " or remove all but one of them, then run: shop-api migrate"
        )
    return error


def refused_document(error: BulkWriteError) -> str:
    """Return which document of an `insert_many` was refused first, and why. Does not repeat its content, which may be
    secret."""
    refusals = error.details["writeErrors"] if error.details else []
    if not refusals:
        return brief_message(error)
    return f"the document {refusals[0]['op']['_id']!r:.100} {_reason(refusals[0])}"


def _reason(refusal: Mapping[str, Any]) -> str:
    if refusal["code"] == _DUPLICATE_KEY:
        fields = ", ".join(refusal.get("keyPattern", ())) or f"index {_index_name(refusal['errmsg'])}"
        return f"has the same {fields} as another one"
    if refusal["code"] == _INVALID_DOCUMENT:
        return "is not valid"
    return f"was refused: {refusal['errmsg'][:300]}"


def _index_name(message: str) -> str:
    found = _INDEX_NAME.search(message)
    return found[1] if found else "of the service"

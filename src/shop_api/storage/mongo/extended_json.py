"""Type-preserving serialisation of documents (MongoDB Extended JSON v2, canonical)."""

from typing import Any

import bson
from bson import json_util

_MAX_BSON_BYTES = 16 << 20


def dumps(document: Any) -> str:
    """Return the document as one line of JSON, in ASCII."""
    return json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS)


def loads(text: bytes | str) -> Any:
    """Parse the output of `dumps`, alone or nested in other JSON. Raise ValueError for anything else."""
    try:
        return json_util.loads(text)
    except Exception as error:  # each type of value has errors of its own, and deep nesting is a RecursionError
        raise ValueError(f"not extended JSON: {type(error).__name__}") from error


def check_storable(document: Any) -> None:
    """Raise ValueError unless the driver can send `document` and MongoDB has room for it (16 MiB)."""
    try:
        size = len(bson.encode(document))
    except Exception as error:  # not a mapping, a number of more than 64 bits, text that is not Unicode, …
        raise ValueError(f"not a document: {type(error).__name__}") from error
    if size > _MAX_BSON_BYTES:
        raise ValueError(f"a document of {size:,} bytes, and MongoDB stores {_MAX_BSON_BYTES:,}")

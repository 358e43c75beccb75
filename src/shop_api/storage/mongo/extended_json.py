"""Type-preserving serialisation of documents (MongoDB Extended JSON v2, canonical)."""

from typing import Any

from bson import json_util


def dumps(document: Any) -> str:
    """Return the document as one line of JSON."""
    return json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS)


def loads(text: bytes | str) -> Any:
    """Parse the output of `dumps`, alone or nested in other JSON."""
    return json_util.loads(text)

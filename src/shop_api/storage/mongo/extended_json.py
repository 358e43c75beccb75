"""Documents as text and back, with every type kept (MongoDB Extended JSON v2, canonical)."""

from typing import Any

from bson import json_util


def dumps(document: Any) -> str:
    """Return the document as JSON, in one line."""
    return json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS)


def loads(text: bytes | str) -> Any:
    """Return what `dumps` was given, alone or as a part of other JSON."""
    return json_util.loads(text)

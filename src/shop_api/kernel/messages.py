"""pydantic's validation errors as messages for people, and as paths into the request body."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_ALLOWED: dict[str, str] = {}
_WORDS: Mapping[str, str] = {
    "bool_parsing": "Give true or false",
    "bool_type": "Give true or false",
    "dict_type": "Give an object",
    "extra_forbidden": "There is no such field",
    "finite_number": "Give a finite number",
    "float_type": "Give a number",
    "int_from_float": "Give an integer",
    "int_parsing": "Give an integer",
    "int_type": "Give an integer",
    "list_type": "Give an array",
    "model_attributes_type": "Give an object",
    "model_type": "Give an object",
    "string_type": "Give a text",
}
_PREFIX = re.compile(r"^(Value|Assertion) error, ")


def allowed(pattern: str, words: str) -> str:
    """Return `pattern` for a field, and register `words` as the message for values that do not match it."""
    _ALLOWED[pattern] = words
    return pattern


def is_explained(pattern: str) -> bool:
    """Return whether a message is registered for `pattern`."""
    return pattern in _ALLOWED


def in_words(error: Mapping[str, Any]) -> str:
    """Return the message of one of pydantic's errors."""
    context = error.get("ctx", {})
    match error["type"]:
        case "string_pattern_mismatch":
            return _ALLOWED.get(context["pattern"], "This is not allowed here")
        case "too_long":
            return f"Give at most {context['max_length']} items"
        case kind:
            return _WORDS.get(kind) or _PREFIX.sub("", error["msg"])


def place(loc: Sequence[str | int], value: object) -> tuple[str | int, ...]:
    """Return the path into `value` that pydantic's `loc` describes, without the parts that are not keys or indexes,
    such as the members of a union."""
    path: list[str | int] = []
    for part in loc:
        match value:
            case dict() if part in value:
                value = value[part]
            case list() if isinstance(part, int) and part < len(value):
                value = value[part]
            case dict() if part == loc[-1] and part != "[key]":  # a missing field
                value = None
            case _:
                continue
        path.append(part)
    return tuple(path)

"""What pydantic finds wrong, in words for people: what is allowed, and where in the body it was not so."""

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
    """Return `pattern`, for a field, and remember what to tell those whose text it does not match."""
    _ALLOWED[pattern] = words
    return pattern


def is_explained(pattern: str) -> bool:
    """Return whether there are words for what `pattern` allows."""
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


def place(loc: Sequence[str | int], given: object) -> tuple[str | int, ...]:
    """Return the path into `given` that pydantic's `loc` describes, without what else is in it, such as the types
    that a value could have had."""
    path: list[str | int] = []
    for part in loc:
        match given:
            case dict() if part in given:
                given = given[part]
            case list() if isinstance(part, int) and part < len(given):
                given = given[part]
            case dict() if part == loc[-1] and part != "[key]":  # what is missing
                given = None
            case _:
                continue
        path.append(part)
    return tuple(path)

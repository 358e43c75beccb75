"""Base classes of request bodies, documents and responses, and the field types that features share."""

import re
import unicodedata
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    model_validator,
    validate_email,
)
from pydantic_core import PydanticCustomError

from shop_api.kernel.messages import allowed
from shop_api.kernel.versions import MAX_VERSION


class Schema(BaseModel):
    """A closed, strictly typed object: unknown fields are rejected, and `true` or `"1"` is not an integer."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


MAX_ERRORS = 100
"""How many mistakes of one request are told."""


class RequestBody(Schema):
    """What a client sends. More than MAX_ERRORS errors are reported as a single one, because reporting an error costs
    far more than causing it."""

    @model_validator(mode="wrap")
    @classmethod
    def _bound_errors(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            if error.error_count() > MAX_ERRORS:
                message = "More than {limit} values are not valid"
                raise PydanticCustomError("too_many_errors", message, {"limit": MAX_ERRORS}) from None
            raise


def _hide_defaults(schema: dict[str, Any]) -> None:
    for field in schema.get("properties", {}).values():
        field.pop("default", None)


def with_example(example: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Return a `json_schema_extra` for a Patch that hides defaults and sets an example."""

    def extend(schema: dict[str, Any]) -> None:
        _hide_defaults(schema)
        schema["examples"] = [example]

    return extend


LATE_ENUM = "x-late-enum"


def late_enum(name: str) -> dict[str, Any]:
    """Return a `json_schema_extra` for a string whose values features declare; `http.openapi.describe` adds them."""
    return {LATE_ENUM: name}


class Patch(RequestBody):
    """A JSON Merge Patch (RFC 7396). Absent fields stay unchanged, so the defaults of its fields are not used."""

    model_config = ConfigDict(json_schema_extra=_hide_defaults)

    def changes(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


def merged(target: Any, patch: Any) -> Any:
    """Return `target` with the merge patch `patch` applied (RFC 7396 §2). Neither is modified."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


# One line of text with a visible character. Control characters (C0, C1) and line breaks (UAX #14) are excluded,
# since they could forge a log line.
_BREAKS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
# Invisible: format characters, fillers, the blank Braille cell, variation selectors and joiners.
_INVISIBLE = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
_LINE = rf"^[^{_BREAKS}]*[^\s{_BREAKS}{_INVISIBLE}][^{_BREAKS}]*$"
_ONE_LINE = "Give one line of text with something visible in it, without control characters"
_INVISIBLE_BEYOND = re.compile("[\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]")


def _visible(text: str) -> str:
    # Characters beyond the BMP, which not every JSON Schema implementation supports in a pattern.
    if max(text) > "\uffff" and not re.search(_LINE, _INVISIBLE_BEYOND.sub("", text)):
        raise PydanticCustomError("string_pattern_mismatch", _ONE_LINE, {"pattern": _LINE})
    return text


_SPACES = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"


def normalized_line(value: Any) -> Any:
    """Return a text in Unicode's NFC without spaces at its ends, so that texts that look the same are equal. Line
    breaks and tabs stay, and are not valid in a line. Return anything that is not text unchanged."""
    return _nfc(value.strip(_SPACES)) if isinstance(value, str) else value


def normalized_text(value: Any) -> Any:
    """Return a text of any number of lines in Unicode's NFC without white space at its ends. Return anything that is
    not text unchanged."""
    return _nfc(value.strip()) if isinstance(value, str) else value


_MAX_NORMALIZED = 30_000
_MAX_MARKS = 30


def _nfc(text: str) -> str:
    """Return `text` in NFC, or unchanged if it is longer than any field or stacks more than 30 marks on one character
    (UAX #15, "Stream-Safe Text Format"): the time to sort marks is quadratic in their number."""
    if text.isascii() or len(text) > _MAX_NORMALIZED:
        return text
    marks = 0
    for character in text:
        marks = marks + 1 if character >= "\u0300" and unicodedata.combining(character) else 0
        if marks > _MAX_MARKS:
            return text
    return unicodedata.normalize("NFC", text)


TEXT_PATTERN = allowed(r"^[^\x00]*$", "Leave out NUL")
Line = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=allowed(_LINE, _ONE_LINE)),
    AfterValidator(_visible),
    BeforeValidator(normalized_line),  # the last one runs first
]
"""One line of text with something visible in it, stored as `normalized_line`."""
MAX_LONG_LINE = 255
LongLine = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_LONG_LINE, pattern=allowed(_LINE, _ONE_LINE)),
    AfterValidator(_visible),
    BeforeValidator(normalized_line),
]
"""A Line of up to 255 characters, as other shop systems allow for names, SKUs and handles."""
_SLUG = allowed(r"^[a-z0-9]+(-[a-z0-9]+)*$", "Use lower-case letters, digits and single hyphens between them")
Slug = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_SLUG)]
# Not pydantic's EmailStr, which parses the whole text before its length can be limited.
Email = Annotated[
    str,
    StringConstraints(max_length=254),
    AfterValidator(lambda address: validate_email(address)[1]),
    Field(json_schema_extra={"format": "email"}),
]
Timestamp = Annotated[datetime, Field(description="RFC 3339, UTC.", examples=["2026-01-31T09:30:00Z"])]
Version = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_VERSION,
        description="Increases by one with each change and is never reused; also the `ETag`.",
        examples=[1769851800000],
    ),
]

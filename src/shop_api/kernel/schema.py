"""What every body, document and answer has in common, and the field types that features share."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, EmailStr, Field, StringConstraints

from shop_api.kernel.versions import MAX_VERSION


class Schema(BaseModel):
    """A closed, strictly typed object: unknown fields are refused, and `true` or `"1"` is not an integer."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


def _hide_defaults(schema: dict[str, Any]) -> None:
    for field in schema.get("properties", {}).values():
        field.pop("default", None)


def with_example(example: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """For the `json_schema_extra` of a Patch."""

    def extend(schema: dict[str, Any]) -> None:
        _hide_defaults(schema)
        schema["examples"] = [example]

    return extend


LATE_ENUM = "x-late-enum"


def late_enum(name: str) -> dict[str, Any]:
    """For `json_schema_extra=` of a string whose values features declare: `http.openapi.describe` is told them."""
    return {LATE_ENUM: name}


class Patch(Schema):
    """Changes, as a JSON Merge Patch (RFC 7396): what is absent stays, so the defaults of its fields mean nothing."""

    model_config = ConfigDict(json_schema_extra=_hide_defaults)

    def changes(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


def merged(target: Any, patch: Any) -> Any:
    """`target` after the merge patch `patch` (RFC 7396 §2); neither is changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


# One line of text with something visible in it; no control characters, so it cannot forge a log line.
_LINE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"

Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_LINE)]
Slug = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Email = Annotated[EmailStr, StringConstraints(max_length=254)]
Timestamp = Annotated[datetime, Field(description="RFC 3339, UTC.", examples=["2026-01-31T09:30:00Z"])]
Version = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_VERSION,
        description="Rises by one with each change, and never names another state; also its `ETag`.",
        examples=[1769851800000],
    ),
]

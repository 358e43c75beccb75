"""The field types of products: what a value may be, and how it is normalized."""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from shop_api.kernel.messages import allowed
from shop_api.kernel.schema import TEXT_PATTERN, LongLine, Schema, Slug, normalized_line, normalized_text

MAX_ATTRIBUTES = 50
MAX_STOCK = 2**53 - 1  # the largest integer that every JSON reader holds exactly (RFC 7493 §2.2)


def _not_reserved(product_id: str) -> str:
    if product_id in {"facets", ".", ".."}:
        raise ValueError("This id is reserved")
    return product_id


_ID = allowed(r"^[A-Za-z0-9._-]+$", "Use letters A to Z and a to z, digits and . _ -")
ProductId = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=64,
        pattern=_ID,
    ),
    AfterValidator(_not_reserved),
    Field(description="1 to 64 of `A-Z a-z 0-9 . _ -`.", examples=["tea-assam-250"]),
]
Status = Literal["draft", "active", "archived"]
_HTTPS = allowed(
    r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-~]*)?$",
    "Give an https address, percent-encoded",
)
ImageUrl = Annotated[str, StringConstraints(max_length=2048, pattern=_HTTPS)]
# No dots, dollars or leading underscores, which have a meaning in MongoDB and in programming languages.
_NAME = allowed(
    r"^[^\s.$_\x00-\x1f\x7f][^.$\x00-\x1f\x7f]*$",
    "Use any characters but . $ and control characters for a name, and no space or _ at its beginning",
)
AttributeName = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=_NAME), BeforeValidator(normalized_line)
]


def _one_of_them(value: object, check: ValidatorFunctionWrapHandler) -> object:
    try:
        return check(value)
    except ValidationError:
        message = "Give a text of at most 500 characters, a number, true or false"
        raise PydanticCustomError("attribute_value", message) from None


AttributeValue = Annotated[
    Annotated[
        str,
        StringConstraints(strict=True, max_length=500, pattern=TEXT_PATTERN),
        BeforeValidator(normalized_text),
    ]
    | StrictBool
    | Annotated[StrictInt, Field(ge=-MAX_STOCK, le=MAX_STOCK)]
    | Annotated[float, Field(strict=True, allow_inf_nan=False)],
    WrapValidator(_one_of_them),
]


def names_kept(attributes: object, check: ValidatorFunctionWrapHandler) -> object:
    """Check attributes, and that no two names become the same when normalized."""
    checked = check(attributes)
    if isinstance(attributes, dict) and len(checked) < len(attributes):
        raise PydanticCustomError("repeated_name", "Two names are the same text in Unicode's NFC")
    return checked


Attributes = Annotated[
    dict[AttributeName, AttributeValue], Field(max_length=MAX_ATTRIBUTES), WrapValidator(names_kept)
]
Tags = Annotated[list[Slug], Field(max_length=250), AfterValidator(lambda tags: list(dict.fromkeys(tags)))]
"""Tags without duplicates."""
Images = Annotated[list[ImageUrl], Field(max_length=20)]
Description = Annotated[
    str, StringConstraints(max_length=10_000, pattern=TEXT_PATTERN), BeforeValidator(normalized_text)
]
Stock = Annotated[int, Field(ge=0, le=MAX_STOCK)]
Position = Annotated[int, Field(ge=0, le=10**6)]
WeightInGrams = Annotated[int, Field(ge=0, le=10**7)]


class VariantOption(Schema):
    """What distinguishes a variant from the others of its group: `{"name": "Size", "value": "M"}`."""

    name: LongLine
    value: LongLine


def _named_once(options: list[VariantOption]) -> list[VariantOption]:
    if len({option.name for option in options}) < len(options):
        raise PydanticCustomError("repeated_name", "Two options have the same name")
    return options


Options = Annotated[list[VariantOption], Field(max_length=10), AfterValidator(_named_once)]

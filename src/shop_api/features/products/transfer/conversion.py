"""Conversion of loosely typed values, as other programs write them, to products."""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from slugify import slugify

from shop_api.features.products.models import MAX_STOCK, ProductIn
from shop_api.kernel.messages import in_words
from shop_api.kernel.money import minor_units

ATTRIBUTE = "attributes."
_MOST_REASONS = 5


class InvalidRow(Exception):
    """The row does not describe a valid product. The message gives the reasons."""


def is_field(name: str) -> bool:
    """Return whether `name` is an importable field of a product.

    Importable are the fields of ProductIn; `price.amount`, in minor units, and `price.currency`, whereas `price` is a
    decimal in the currency's main unit; and single attributes, such as `attributes.weight_g`.
    """
    return name in READERS or (name.startswith(ATTRIBUTE) and name.count(".") == 1 and name != ATTRIBUTE)


def product_of(values: Mapping[str, Any]) -> ProductIn:
    """Return the product described by `values`, by field. Raises InvalidRow if they are not valid."""
    fields: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    problems = []
    for field, value in values.items():
        try:
            if field.startswith(ATTRIBUTE):
                attributes[field.removeprefix(ATTRIBUTE)] = _attribute(value)
            elif field in READERS:
                fields[field] = READERS[field](value)
            else:
                raise ValueError("is not a field of a product")
        except ValueError as error:
            problems.append(f"{field}: {error}")
    if not problems:
        try:
            return ProductIn.model_validate(fields | {"price": _price(fields), "attributes": attributes})
        except ValidationError as error:
            problems = _reasons(error)
        except ValueError as error:
            problems.append(f"price: {error}")
    raise InvalidRow("; ".join(problems[:_MOST_REASONS]))


def _price(fields: dict[str, Any]) -> dict[str, Any]:
    price, amount, currency = (fields.pop(field, None) for field in ("price", "price.amount", "price.currency"))
    if price is None and amount is None:
        raise ValueError("is missing")
    if price is not None and amount is not None:
        raise ValueError("there is both a decimal price and price.amount")
    if currency is None:
        raise ValueError("has no currency; if it is always the same, give --set price.currency=…")
    return {"amount": minor_units(price, currency) if amount is None else amount, "currency": currency}


def _reasons(error: ValidationError) -> list[str]:
    reasons: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        # Pydantic reports an attribute once for each member of its union; keep one.
        place = ".".join(map(str, problem["loc"][: 2 if problem["loc"][0] == "attributes" else None]))
        scalar = problem["type"] != "missing" and isinstance(problem["input"], str | int | float)
        shown = f", not {problem['input']!r:.60}" if scalar else ""
        reasons.setdefault(place, f"{place}: {in_words(problem)}{shown}")
    return [*reasons.values()]


# Readers convert a value, from text or JSON, to what its field needs. A value that they cannot convert they return
# unchanged, and the model's validation reports the error.


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


def _word(value: Any) -> Any:
    value = _text(value)
    return value.strip() if isinstance(value, str) else value


def _status(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _currency(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not an ISO 4217 currency code")
    return value.strip()


def _decimal(value: Any) -> str:
    if isinstance(value, Decimal) and abs(value.adjusted()) < 40:
        return f"{value:f}"
    if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        raise ValueError("is not a decimal number")
    text = str(value).strip()
    if "," in text:
        raise ValueError(f"{text[:40]!r} is ambiguous: write it with a point and without separators, as 1299.00")
    return text


_INTEGER = re.compile(r"(-?[0-9]{1,18})(\.0*)?")


def _whole(value: Any) -> Any:
    if isinstance(value, str | Decimal):
        if not (integer := _INTEGER.fullmatch(str(value).strip())):
            raise ValueError(f"{str(value)[:40]!r} is not a whole number")
        return int(integer[1])
    return value


@lru_cache(10_000)
def _slug_of(text: str) -> str:
    # An apostrophe does not split a word: men's becomes mens, not men-s.
    slug = slugify(text, replacements=[("'", ""), ("’", "")], max_length=64)
    if not slug:
        raise ValueError(f"{text[:40]!r} has no letter or digit to make a slug from")
    return slug


def _slug(value: Any) -> Any:
    value = _text(value)
    return _slug_of(value) if isinstance(value, str) else value


_COMMA = re.compile(r"\s*,\s*")
_BETWEEN_URLS = re.compile(r"\s*,\s*(?=https?://)|\s+")


def _tags(value: Any) -> Any:
    tags = _list(value, _COMMA)
    if not isinstance(tags, list):
        return tags
    slugs = [_slug(tag) for tag in tags]
    return slugs if slugs == tags else list(dict.fromkeys(slugs))  # two spellings may give one slug


def _images(value: Any) -> Any:
    return _list(value, _BETWEEN_URLS)


def _list(value: Any, separator: re.Pattern[str]) -> Any:
    """Parse text as a JSON array, or split it at separators."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    return json_or_text(text) if text.startswith("[") else [part for part in separator.split(text) if part]


def _no_attributes(_: Any) -> Any:
    raise ValueError("is not a JSON object")


def _attribute(value: Any) -> Any:
    if isinstance(value, list | dict):
        raise ValueError("must be text, a number or a boolean")
    if isinstance(value, Decimal):
        value = float(value)
    if value in (float("inf"), float("-inf")) or (isinstance(value, int) and abs(value) > MAX_STOCK):
        raise ValueError("is too large for a number; write it as text")
    return value


READERS: Mapping[str, Callable[[Any], Any]] = {
    "product_id": _word,
    "name": _text,
    "description": _text,
    "price": _decimal,
    "price.amount": _whole,
    "price.currency": _currency,
    "stock": _whole,
    "category": _slug,
    "brand": _text,
    "tags": _tags,
    "images": _images,
    "attributes": _no_attributes,
    "status": _status,
}

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{0,14}[1-9])?")


def guess(text: str) -> Any:
    """Return a number or a boolean if `text` is its canonical form, else `text`: 007 and 1.10 stay text."""
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def json_or_text(text: str) -> Any:
    """Return the value of a JSON text, or `text` itself if it is not JSON."""
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return text

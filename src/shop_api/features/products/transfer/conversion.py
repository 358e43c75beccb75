"""Conversion of loosely typed values, as other programs write them, to the values that products have."""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from slugify import slugify

from shop_api.features.products.fields import MAX_STOCK
from shop_api.features.products.transfer.booleans import as_boolean
from shop_api.kernel.money import minor_units

ATTRIBUTE = "attributes."


def is_field(name: str) -> bool:
    """Return whether `name` is an importable field of a product.

    Importable are the fields of ProductIn; `price.amount`, in minor units, and `price.currency`, whereas `price` is a
    decimal in the currency's main unit; and single attributes, such as `attributes.weight_g`.
    """
    return name in READERS or (name.startswith(ATTRIBUTE) and name.count(".") == 1 and name != ATTRIBUTE)


def read_money(decimal: Any, amount: Any, currency: Any) -> dict[str, Any] | None:
    """Return the money of a decimal in the currency's main unit or of an amount in minor units; None without either.

    Raises ValueError if both are given, or without a valid currency.
    """
    if decimal is None and amount is None:
        return None
    if decimal is not None and amount is not None:
        raise ValueError("there is both a decimal price and price.amount")
    if currency is None:
        raise ValueError("has no currency; if it is always the same, give --set price.currency=…")
    code = _currency(currency)
    return {"amount": _whole(amount) if decimal is None else minor_units(_decimal(decimal), code), "currency": code}


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
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text  # as a number of JSON, 1.500 is not ambiguous
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
    return list(dict.fromkeys(map(_tag, tags))) if isinstance(tags, list) else tags  # two spellings may give one slug


def _tag(value: Any) -> Any:
    try:
        return _slug(value)
    except ValueError:  # the model's validation rejects it
        return value


# What a URL may contain, percent signs included (RFC 3986 §2).
_URL_CHARACTERS = "%-._~:/?#[]@!$&'()*+,;="


def _images(value: Any) -> Any:
    images = _list(value, _BETWEEN_URLS)
    return [_url(image) for image in images] if isinstance(images, list) else images


def _url(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    url = quote(value.strip(), safe=_URL_CHARACTERS)
    return f"https:{url}" if url.startswith("//") else url


def _options(value: Any) -> Any:
    return json_or_text(value) if isinstance(value, str) else value


def _boolean(value: Any) -> Any:
    return as_boolean(value) if isinstance(value, str) else value


def _list(value: Any, separator: re.Pattern[str]) -> Any:
    """Parse text as a JSON array, or split it at separators."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    return json_or_text(text) if text.startswith("[") else [part for part in separator.split(text) if part]


def _attributes(value: Any) -> dict[str, Any]:
    value = json_or_text(value) if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    return {name: part for name, part in value.items() if part is not None}


def read_attribute(value: Any) -> Any:
    """Return the value of an attribute. Raises ValueError if it cannot be one."""
    if isinstance(value, list | dict):
        raise ValueError("must be text, a number or a boolean")
    if isinstance(value, Decimal):
        value = float(value)
    if value in (float("inf"), float("-inf")) or (isinstance(value, int) and abs(value) > MAX_STOCK):
        raise ValueError("is too large for a number; write it as text")
    return value


READERS: Mapping[str, Callable[[Any], Any]] = {
    "product_id": _word,
    "sku": _text,
    "barcode": _text,
    "group": _text,
    "options": _options,
    "position": _whole,
    "name": _text,
    "description": _text,
    "price": _decimal,
    "price.amount": _whole,
    "price.currency": _currency,
    "compare_at_price": _decimal,
    "compare_at_price.amount": _whole,
    "compare_at_price.currency": _currency,
    "tax_class": _slug,
    "weight_g": _whole,
    "requires_shipping": _boolean,
    "stock": _whole,
    "category": _slug,
    "brand": _text,
    "tags": _tags,
    "images": _images,
    "attributes": _attributes,
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

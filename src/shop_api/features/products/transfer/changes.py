"""What one row of a file says about a product, and how it changes what is stored.

A field that the row does not name keeps its stored value. Fields whose loss does no harm (OPTIONAL) never reject a
row: what cannot be stored of them is left out, with a warning.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from pydantic import ValidationError

from shop_api.features.products.fields import MAX_ATTRIBUTES
from shop_api.features.products.models import DEFAULTS, NOT_ABOVE_PRICE, Product, ProductIn, is_reduced
from shop_api.features.products.transfer.conversion import ATTRIBUTE, READERS, read_attribute, read_money
from shop_api.features.products.transfer.row import Omission
from shop_api.kernel.messages import in_words
from shop_api.kernel.money import Money
from shop_api.kernel.schema import normalized_line
from shop_api.kernel.versions import first_version

OPTIONAL = frozenset(
    {
        *("barcode", "options", "position", "description", "compare_at_price", "weight_g", "category", "brand"),
        *("tags", "images", "attributes"),
    }
)
"""Fields that do not reject a row."""
_EMPTY: dict[str, Any] = {
    **{name: default for name, default in DEFAULTS.items() if name not in ("tax_class", "requires_shipping")},
    "description": "",
    "category": None,
    "brand": None,
    "tags": [],
    "images": [],
    "attributes": {},
}
"""The values of fields that can be emptied. A blank value of any other field says nothing."""
_ONE_VALUE_EACH = frozenset({"options", "tags", "images", "attributes"})
_MAX_REASONS = 5


class InvalidRow(Exception):
    """The row does not describe a valid product. The message gives the reasons."""


@dataclass
class ProductChanges:
    """What a row says about a product."""

    product_id: str | None
    fields: dict[str, Any]
    """Valid values of fields of ProductIn."""
    attributes: dict[str, Any]
    """Single attributes; None removes one. They apply after `fields["attributes"]`."""
    missing: list[str]
    """Why the row cannot become a new product, empty if it can."""
    warnings: list[Omission] = field(default_factory=list)
    """What was left out."""

    def new_product(self, product_id: str, position: int | None, now: datetime) -> Product:
        """Return the new product. Raises InvalidRow if the row lacks something that a product must have."""
        if self.missing:
            raise InvalidRow("; ".join(self.missing))
        content = {**_DEFAULTS, "product_id": product_id, "version": first_version(now)} | self.fields
        if content["group"] is not None and "position" not in self.fields:
            content["position"] = position
        content["attributes"] = self._merged_attributes(content["attributes"])
        return Product.model_construct(**content | {"created_at": now, "updated_at": now})

    def next_version(self, stored: Product, now: datetime) -> Product:
        """Return the next version of `stored`."""
        content = dict(stored) | self.fields
        content["attributes"] = self._merged_attributes(content["attributes"])
        compare_at = content["compare_at_price"]
        if compare_at is not None and not is_reduced(content["price"], compare_at):
            content["compare_at_price"] = None
            self.warnings.append(_NOT_REDUCED)
        return Product.model_construct(**content | {"version": stored.version + 1, "updated_at": now})

    def _merged_attributes(self, attributes: dict[str, Any]) -> dict[str, Any]:
        if not self.attributes:
            return attributes
        merged = {name: value for name, value in (attributes | self.attributes).items() if value is not None}
        if len(merged) > MAX_ATTRIBUTES:
            self.warnings.append(Omission(f"attributes: cut after {MAX_ATTRIBUTES} attributes"))
        return dict(islice(merged.items(), MAX_ATTRIBUTES))


_NOT_REDUCED = Omission("compare_at_price: left out what is not above the price")
_DEFAULTS: dict[str, Any] = dict(ProductIn(name="x", price=Money(amount=0, currency="USD")))


class _Read(NamedTuple):
    """The values of a row after conversion, before validation."""

    fields: dict[str, Any]
    attributes: dict[str, Any]
    problems: list[str]
    warnings: list[Omission]


def changes_of(values: Mapping[str, Any]) -> ProductChanges:
    """Return what `values`, by field, say about a product; None is a blank value. Raises InvalidRow if they are not
    valid."""
    read = _converted(values)
    missing = _read_price(values, read)
    if "name" not in read.fields:
        missing.append("name: is missing")
    if not read.problems:
        valid = _validated(read)
        if valid is not None:
            return _as_changes(read, valid, missing)
    raise InvalidRow("; ".join(dict.fromkeys(read.problems[:_MAX_REASONS])))


def _converted(values: Mapping[str, Any]) -> _Read:
    read = _Read({}, {}, [], [])
    for name, value in values.items():
        try:
            if name.startswith(ATTRIBUTE):
                _read_attribute(name.removeprefix(ATTRIBUTE), value, read.attributes, read)
            elif name in _PRICES:
                continue
            elif name not in READERS:
                raise ValueError("is not a field of a product")
            elif value is None:
                read.fields.update({name: _EMPTY[name]} if name in _EMPTY else {})
            else:
                read.fields[name] = READERS[name](value)
        except ValueError as error:
            if name in OPTIONAL:
                read.warnings.append(_left_out(name, str(error)))
            else:
                read.problems.append(f"{name}: {error}")
    if "attributes" in read.fields:
        whole, read.fields["attributes"] = read.fields["attributes"], {}
        for name, value in whole.items():
            _read_attribute(name, value, read.fields["attributes"], read)
    return read


def _read_attribute(name: str, value: Any, attributes: dict[str, Any], read: _Read) -> None:
    try:
        attributes[name] = None if value is None else read_attribute(value)
    except ValueError as error:
        read.warnings.append(_left_out("attributes", f"{name}: {error}"))


def _left_out(name: str, detail: str) -> Omission:
    return Omission(f"{name}: left out what is not valid", detail)


_PRICES = frozenset(
    f"{name}{part}" for name in ("price", "compare_at_price") for part in ("", ".amount", ".currency")
)


def _read_price(values: Mapping[str, Any], read: _Read) -> list[str]:
    """Add the prices to `read`. Return why there is no price, if there is none."""
    currency = values.get("price.currency")
    try:
        price = read_money(values.get("price"), values.get("price.amount"), currency)
    except ValueError as error:
        read.problems.append(f"price: {error}")
        return []
    if "compare_at_price" in values or "compare_at_price.amount" in values:
        _read_compare_at_price(values, read, price)
    if price is None:
        return ["price: is missing"]
    read.fields["price"] = price
    return []


def _read_compare_at_price(values: Mapping[str, Any], read: _Read, price: dict[str, Any] | None) -> None:
    decimal, amount = values.get("compare_at_price"), values.get("compare_at_price.amount")
    currency = values.get("compare_at_price.currency") or values.get("price.currency")
    try:
        compare_at = read_money(decimal, amount, currency)
    except ValueError as error:
        read.warnings.append(_left_out("compare_at_price", str(error)))
        return
    if compare_at and compare_at["amount"] == 0:  # as other systems write "none"
        compare_at = None
    read.fields["compare_at_price"] = compare_at


def _validated(read: _Read) -> ProductIn | None:
    """Return the fields as a model, without what OPTIONAL fields hold in vain. Return None, and add problems, if
    another field is not valid."""
    while True:
        fields = {"name": "x", "price": _price_below(read.fields), **read.fields, "attributes": _all_attributes(read)}
        try:
            return ProductIn.model_validate(fields)
        except ValidationError as error:
            errors = error.errors(include_url=False)
        if others := [each for each in errors if each["loc"][0] not in OPTIONAL]:
            read.problems.extend(_reasons(others))
            return None
        by_place = {each["loc"][:2]: each for each in errors}
        for each in reversed(by_place.values()):  # from the end, so that places in lists stay right
            _leave_out(each, read)


def _price_below(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a price for a row without one: one for which any `compare_at_price` is valid."""
    return {"amount": 0, "currency": (fields.get("compare_at_price") or {}).get("currency", "USD")}


def _all_attributes(read: _Read) -> dict[str, Any]:
    single = {name: value for name, value in read.attributes.items() if value is not None}
    return {**read.fields.get("attributes", {}), **single}


def _leave_out(error: Any, read: _Read) -> None:
    name, *inside = error["loc"]
    if error["type"] == NOT_ABOVE_PRICE:
        read.fields[name] = None
        read.warnings.append(_NOT_REDUCED)
    elif error["type"] in ("too_long", "string_too_long") and not inside and name in _CUT:
        limit = error["ctx"]["max_length"]
        read.fields[name] = read.fields[name][:limit]
        read.warnings.append(Omission(f"{name}: cut after {limit:,} {_CUT[name]}"))
    elif name in _ONE_VALUE_EACH and inside:
        _leave_out_one(name, inside[0], read)
        read.warnings.append(_left_out(name, _shown(error)))
    else:
        read.fields.pop(name, None)
        if name == "attributes":
            read.attributes.clear()
        read.warnings.append(_left_out(name, _shown(error)))


_CUT = {"tags": "tags", "images": "images", "options": "options", "description": "characters"}


def _leave_out_one(name: str, key: Any, read: _Read) -> None:
    if name == "attributes":
        read.attributes.pop(key, None)
        read.fields.get(name, {}).pop(key, None)
    elif key < len(read.fields[name]):
        del read.fields[name][key]


def _as_changes(read: _Read, valid: ProductIn, missing: list[str]) -> ProductChanges:
    fields = {name: getattr(valid, name) for name in read.fields if name != "product_id"}
    attributes: dict[str, Any] = {
        normalized_line(name): None for name, value in read.attributes.items() if value is None
    }
    if "attributes" not in fields:
        attributes |= valid.attributes
    return ProductChanges(valid.product_id, fields, attributes, missing, list(dict.fromkeys(read.warnings)))


def _reasons(errors: list[Any]) -> list[str]:
    reasons: dict[str, str] = {}
    for problem in errors:
        place = ".".join(map(str, problem["loc"]))
        reasons.setdefault(place, f"{place}: {_shown(problem)}")
    return [*reasons.values()]


def _shown(error: Any) -> str:
    scalar = error["type"] != "missing" and isinstance(error["input"], str | int | float)
    return in_words(error) + (f", not {error['input']!r:.60}" if scalar else "")

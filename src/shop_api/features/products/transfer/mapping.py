"""Mapping of the columns of a file to the fields of a product."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from shop_api.features.products.models import ProductIn
from shop_api.features.products.transfer.conversion import (
    ATTRIBUTE,
    READERS,
    InvalidRow,
    guess,
    is_field,
    json_or_text,
    product_of,
)

# Fields of API responses beyond ProductIn, ignored so that responses can be imported.
_IGNORED = frozenset({"version", "created_at", "updated_at"})


class MappingError(Exception):
    """The mapping is invalid for every row. The message gives the reason."""


def parse_assignments(value: Iterable[str]) -> dict[str, str]:
    """Parse `["name=title"]` into a dict. Raises MappingError for a missing `=` or a repeated field."""
    assignments: dict[str, str] = {}
    for text in value:
        field, _, value = text.partition("=")
        if not field or not value:
            raise MappingError(f"{text!r} is not of the form field=value")
        if field in assignments:
            raise MappingError(f"{field} is given twice")
        assignments[field] = value
    return assignments


class RowMapping:
    """The source of each field of a product.

    `columns` maps fields to columns of another name, dotted for nested objects; `constants` maps fields to a text for
    every row. Any other field takes the column of its own name. With `strict`, a row with an unknown
    column is invalid. If not `typed`, all values are text, and an attribute in the form of a number or a boolean is
    converted to one.
    """

    def __init__(
        self, columns: Mapping[str, str], constants: Mapping[str, str], *, strict: bool, typed: bool
    ) -> None:
        for field in (*columns, *constants):
            if not is_field(field):
                raise MappingError(f"{field} is not a field of a product{_near(field, READERS)}")
        if both := columns.keys() & constants.keys():
            raise MappingError(f"{', '.join(sorted(both))}: either comes from a column or is set")
        if {"price", "price.amount"} <= columns.keys() | constants.keys():
            raise MappingError("give either price, a decimal, or price.amount, in minor units")
        self._columns = columns
        self.unseen = set(columns.values())
        """The mapped columns that no row has had so far."""
        self._constants = _parts(_guessed(constants))
        self._strict = strict
        self._typed = typed
        self._try_constants()

    def _try_constants(self) -> None:
        others = {"name": "x", "price.currency": "USD"} | ({} if "price" in self._constants else {"price.amount": 0})
        try:
            product_of(others | self._constants)
        except InvalidRow as error:
            raise MappingError(str(error)) from None

    def check(self, columns: Iterable[str]) -> None:
        """Raise MappingError unless the mapping fits a file with exactly these columns."""
        present = [column for column in columns if column]
        for column in self._columns.values():
            if column not in present:
                raise MappingError(f"no column {column}{_near(column, present)}; there are: {', '.join(present)}")
        if self._strict and (reason := _unknown(present)):
            raise MappingError(reason)

    def product(self, row: Mapping[str, Any]) -> ProductIn:
        """Return the product described by `row`. Raises InvalidRow if the row is not valid."""
        if self._strict and (reason := _unknown(row)):
            raise InvalidRow(reason)
        columns = {name: name for name in row if is_field(name)} | dict(self._columns)
        values = {field: _find(row, column) for field, column in columns.items()}
        if self.unseen:
            self.unseen -= {column for field, column in self._columns.items() if values[field] is not None}
        found = _parts(values if self._typed else _guessed(values))
        if "product_id" in self._columns and "product_id" not in found:
            # With a generated id, every import of this row would create another product.
            raise InvalidRow(f"product_id: {self._columns['product_id']} is missing")
        return product_of(found | self._constants)

    def id_in(self, row: Mapping[str, Any]) -> str:
        """Return the product id of `row` as written in the file, or an empty string if it has none."""
        value = _find(row, self._columns.get("product_id", "product_id"))
        return "" if value is None else str(value)


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _unknown(columns: Iterable[str]) -> str | None:
    for name in columns:
        if not is_field(name) and name not in _IGNORED:
            return f"{name} is not a field of a product{_near(name, READERS)}; with --map, others are ignored"
    return None


def _find(row: Mapping[str, Any], path: str) -> Any:
    """Return the value at `path`: of the column with exactly this name, else inside nested objects, else None."""
    if path in row:
        return row[path]
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _parts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` without nulls and empty texts, with the objects `price` and `attributes` flattened to their
    parts. A part given as a field of its own takes precedence over the same part of an object."""
    alone: dict[str, Any] = {}
    nested: dict[str, Any] = {}
    for field, value in values.items():
        if field == "attributes" and isinstance(value, str) and value:
            value = json_or_text(value)
        if field in ("price", "attributes") and isinstance(value, dict):
            nested |= {f"{field}.{name}": part for name, part in value.items() if part is not None}
        elif value is not None and (value != "" or field.startswith(ATTRIBUTE)):
            alone[field] = value
    return nested | alone


def _guessed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f: guess(v) if f.startswith(ATTRIBUTE) and isinstance(v, str) else v for f, v in values.items()}

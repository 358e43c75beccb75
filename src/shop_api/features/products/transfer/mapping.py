"""Which column of somebody's file is which field of a product."""

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

# What the API says of a product beyond ProductIn, so that its answers can be imported too.
_IGNORED = frozenset({"version", "created_at", "updated_at"})


class MappingError(Exception):
    """The mapping itself makes no sense, for any row; the message says why."""


def parse_assignments(given: Iterable[str]) -> dict[str, str]:
    """`["name=title"]` as a dict; MappingError for what has no `=` or names a field twice."""
    assignments: dict[str, str] = {}
    for text in given:
        field, _, value = text.partition("=")
        if not field or not value:
            raise MappingError(f"{text!r} is not of the form field=value")
        if field in assignments:
            raise MappingError(f"{field} is given twice")
        assignments[field] = value
    return assignments


class RowMapping:
    """Where each field of a product comes from.

    `columns` gives the columns of fields that have another name in the file, dotted where objects are nested;
    `constants` gives fields that are the same for every row, as text. A field that neither names takes the column of
    its own name. With `strict`, a row with a column that means nothing here is no product. When not `typed`, all
    values are text, and an attribute that reads like a number or a boolean becomes one.
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
        """The columns that no row had so far."""
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
        """MappingError unless a file with exactly these columns can be read so."""
        present = [column for column in columns if column]
        for column in self._columns.values():
            if column not in present:
                raise MappingError(f"no column {column}{_near(column, present)}; there are: {', '.join(present)}")
        if self._strict and (reason := _unknown(present)):
            raise MappingError(reason)

    def product(self, row: Mapping[str, Any]) -> ProductIn:
        """The product that `row` describes; InvalidRow when it describes none."""
        if self._strict and (reason := _unknown(row)):
            raise InvalidRow(reason)
        columns = {name: name for name in row if is_field(name)} | dict(self._columns)
        values = {field: _find(row, column) for field, column in columns.items()}
        if self.unseen:
            self.unseen -= {column for field, column in self._columns.items() if values[field] is not None}
        found = _parts(values if self._typed else _guessed(values))
        if "product_id" in self._columns and "product_id" not in found:
            # An id made up instead would make another product of this row with every import.
            raise InvalidRow(f"product_id: {self._columns['product_id']} is missing")
        return product_of(found | self._constants)

    def id_in(self, row: Mapping[str, Any]) -> str:
        """The id that `row` gives, as it stands there; empty if it gives none."""
        given = _find(row, self._columns.get("product_id", "product_id"))
        return "" if given is None else str(given)


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _unknown(columns: Iterable[str]) -> str | None:
    for name in columns:
        if not is_field(name) and name not in _IGNORED:
            return f"{name} is not a field of a product{_near(name, READERS)}; with any --map others are ignored"
    return None


def _find(row: Mapping[str, Any], path: str) -> Any:
    """The value at `path`: a column of exactly this name, else one inside nested objects; None if there is none."""
    if path in row:
        return row[path]
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _parts(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without those that are null or empty text; objects under price and attributes replaced by their parts,
    behind which parts that stand alone take precedence."""
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

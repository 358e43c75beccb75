"""Mapping of the columns of a file to the fields of a product."""

import difflib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from shop_api.features.products.transfer.changes import InvalidRow, ProductChanges, changes_of
from shop_api.features.products.transfer.conversion import ATTRIBUTE, READERS, guess, is_field
from shop_api.features.products.transfer.identity import id_of

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
        # Most rows of a file have the same columns.
        self._columns_of = lru_cache(100)(self._resolved)
        self._try_constants()

    def _try_constants(self) -> None:
        others = {"name": "x", "price.currency": "USD"} | ({} if "price" in self._constants else {"price.amount": 0})
        try:
            changes = changes_of(others | self._constants)
        except InvalidRow as error:
            raise MappingError(str(error)) from None
        if changes.warnings:
            raise MappingError("; ".join(f"{kind}: {detail}" for kind, detail in changes.warnings))

    def check(self, columns: Iterable[str]) -> None:
        """Raise MappingError unless the mapping fits a file with exactly these columns."""
        present = [column for column in columns if column]
        for column in self._columns.values():
            if column not in present:
                raise MappingError(f"no column {column}{_near(column, present)}; there are: {', '.join(present)}")
        if self._strict and (reason := _unknown(present)):
            raise MappingError(reason)

    def changes(self, row: Mapping[str, Any]) -> ProductChanges:
        """Return what `row` says about a product. Raises InvalidRow if the row is not valid."""
        reason, columns = self._columns_of(tuple(row))
        if reason is not None:
            raise InvalidRow(reason)
        values = {field: value for field, column in columns.items() if (value := _find(row, column)) is not _ABSENT}
        if self.unseen:
            self.unseen -= {column for field, column in self._columns.items() if values.get(field) not in (None, "")}
        found = _parts(values if self._typed else _guessed(values))
        self._make_id(found)
        return changes_of(found | self._constants)

    def _resolved(self, names: tuple[str, ...]) -> tuple[str | None, Mapping[str, str]]:
        """Return what is wrong with a row of these columns, and otherwise the column of each field."""
        if self._strict and (reason := _unknown(names)):
            return reason, {}
        return None, {name: name for name in names if is_field(name)} | dict(self._columns)

    def _make_id(self, found: dict[str, Any]) -> None:
        """Make `product_id` from the column that it is mapped to, or else from the SKU."""
        source = "product_id" if "product_id" in self._columns else "sku"
        text = found.get(source)
        if source == "product_id" and text is None:
            # With a generated id, every import of this row would create another product.
            raise InvalidRow(f"product_id: {self._columns['product_id']} is missing")
        if found.get("product_id") is not None and source == "sku":
            return
        if isinstance(text, str | int) and not isinstance(text, bool) and (text := str(text).strip()):
            found["product_id"] = id_of(text)
            if source == "product_id" and found["product_id"] != text:
                found.setdefault("sku", text)  # or the original text would be lost

    def id_in(self, row: Mapping[str, Any]) -> str:
        """Return what identifies the product of `row` in the file: its id, SKU or group, or an empty string."""
        for column in (self._columns.get("product_id", "product_id"), self._columns.get("sku", "sku"), "group"):
            if (value := _find(row, column)) not in (_ABSENT, None, ""):
                return str(value)
        return ""


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _unknown(columns: Iterable[str]) -> str | None:
    for name in columns:
        if not is_field(name) and name not in _IGNORED:
            return f"{name} is not a field of a product{_near(name, READERS)}; with --map, others are ignored"
    return None


_ABSENT = object()


def _find(row: Mapping[str, Any], path: str) -> Any:
    """Return the value at `path`: of the column with exactly this name, else inside nested objects, else _ABSENT."""
    if path in row:
        return row[path]
    value: Any = row
    for name in path.split("."):
        value = value.get(name, _ABSENT) if isinstance(value, Mapping) else _ABSENT
    return value


def _parts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with prices split into their parts, and blank texts as None. A part given as a field of its own
    takes precedence over the same part of an object."""
    alone: dict[str, Any] = {}
    nested: dict[str, Any] = {}
    for field, value in values.items():
        if field in ("price", "compare_at_price") and isinstance(value, dict):
            nested |= {f"{field}.{name}": part for name, part in value.items()}
        else:
            alone[field] = None if value == "" and not field.startswith(ATTRIBUTE) else value
    return nested | alone


def _guessed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return texts as values: attributes as numbers or booleans if they look like it, and None for blank cells."""
    return {f: (guess(v) if v else None) if f.startswith(ATTRIBUTE) else v for f, v in values.items()}

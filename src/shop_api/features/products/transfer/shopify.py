"""Conversion of Shopify's product export (CSV), which has a row for each variant and each additional image.

- Rows belong to their handle wherever they stand. Every variant becomes a product; `identity` says which one. Its
  group is the handle.
- Title, description, vendor, type, tags and status stand in one row of a handle and apply to all its variants, unless
  a variant's own row has another value. The description becomes plain text. The category is the type, or else the
  last part of the product category.
- The name is the title with the options, as Shopify shows it in an order: `Assam - 250 g / Tin`.
- The variant's image comes first, then the images of all rows of the handle.
- An active but unpublished product is a draft. `Published` and `Status` are read by closed lists of words; a variant
  with any other word is rejected, since guessing could make a draft public.
- A file without quantities says nothing about stock, and neither does a variant whose inventory Shopify does not
  track, unless it has a quantity. Negative stock, which Shopify writes for oversold variants, becomes 0.
- The file contains no currency: pass `--set price.currency=USD`. Other columns can be mapped by name:
  `--map "attributes.supplier=Google Shopping / Custom Label 0"`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from shop_api.features.products.transfer.html_text import text_of
from shop_api.features.products.transfer.identity import Variant
from shop_api.features.products.transfer.row import Omission, Row
from shop_api.features.products.transfer.shopify_columns import columns_of, status_of
from shop_api.features.products.transfer.spill import MAX_ROWS, RowsByHandle, StoredRow
from shop_api.kernel.schema import MAX_LONG_LINE, normalized_line

_OF_A_VARIANT = ("sku", "price", "barcode", "quantity", "option1_value", "option2_value", "option3_value")
"""Columns that only rows of variants have, unlike rows of additional images."""
DEFAULT_VALUE = "Default Title"
"""The option value of a product without options."""
_GRAMS = {"g": Decimal(1), "kg": Decimal(1000), "oz": Decimal("28.349523125"), "lb": Decimal("453.59237")}


def variants(rows: Iterator[Row], header: Sequence[str]) -> Iterator[Row]:
    """Yield one row for each variant, with the fields of a product in addition to the columns of the file."""
    columns = columns_of(header)
    gathered = RowsByHandle(header)
    for row in rows:
        handle = normalized_line(row.values.get(columns["handle"], ""))
        if row.problem is not None:
            yield row
        elif not handle:
            yield Row(row.number, {}, f"{columns['handle']} is missing")
        else:
            cells = {key: row.values.get(name, "").strip() for key, name in columns.items()}
            is_variant = any(cells.get(key) for key in _OF_A_VARIANT)
            gathered.add(row.number, handle, _sku(cells), is_variant, row.values)
    for group in gathered.handles():
        yield from Handle(group, columns, gathered.is_unique).rows()


def _sku(cells: Mapping[str, str]) -> str | None:
    # Shopify prefixes a SKU with an apostrophe if a spreadsheet would read it as a number.
    sku: str = normalized_line(cells.get("sku", "").removeprefix("'"))
    return sku or None


class Handle:
    """The rows of one handle."""

    def __init__(
        self, rows: Sequence[StoredRow], columns: Mapping[str, str], is_unique: Callable[[str], bool]
    ) -> None:
        self._rows = rows
        self._columns = columns
        self._is_unique = is_unique
        self._cells = [
            {key: cell for key, name in columns.items() if (cell := row.values.get(name, "").strip())} for row in rows
        ]
        self._handle: str = normalized_line(self._first("handle"))
        self._images = [cells["image"] for cells in self._cells if "image" in cells]
        self._description: dict[str, str] = {}

    def rows(self) -> Iterator[Row]:
        """Yield a row for each variant."""
        places = [n for n, cells in enumerate(self._cells) if any(key in cells for key in _OF_A_VARIANT)] or [0]
        known: dict[tuple[Any, ...], int] = {}
        for position, place in enumerate(places, 1):
            row, cells = self._rows[place], self._cells[place]
            variant = self._variant(cells, position, is_single=len(places) == 1)
            earlier = known.setdefault((variant.sku, variant.values), row.number)
            if earlier != row.number:
                reason = f"the same variant is in line {earlier}: same handle, SKU and option values"
                yield Row(row.number, {}, reason)
                continue
            try:
                fields, omissions = self._fields(cells)
            except ValueError as error:
                yield Row(row.number, {}, str(error), variant)
            else:
                yield Row(row.number, {**row.values, **fields}, None, variant, omissions)
        for row in self._rows[MAX_ROWS:]:
            yield Row(row.number, {}, f"the handle has more than {MAX_ROWS:,} rows")

    def _variant(self, cells: Mapping[str, str], position: int, *, is_single: bool) -> Variant:
        values = tuple(value for _, value in self._options(cells))
        variant = Variant(self._handle, _sku(cells), values, position, is_single, is_unique=True)
        return variant._replace(is_unique=not variant.plain_id or self._is_unique(variant.plain_id))

    def _first(self, key: str) -> str | None:
        return next((cells[key] for cells in self._cells if key in cells), None)

    def _shared(self, key: str, cells: Mapping[str, str]) -> str | None:
        """Return the value of a column that stands in one row of the handle."""
        return cells.get(key) or self._first(key)

    def _options(self, cells: Mapping[str, str]) -> list[tuple[str, str]]:
        options: dict[str, str] = {}
        for n in (1, 2, 3):
            value = cells.get(f"option{n}_value", DEFAULT_VALUE)
            if value != DEFAULT_VALUE:
                name = self._shared(f"option{n}_name", cells) or f"Option {n}"
                options[name if name not in options else f"{name} {n}"] = normalized_line(value)
        return list(options.items())

    def _fields(self, cells: Mapping[str, str]) -> tuple[dict[str, Any], list[Omission]]:
        """Return the fields that the file says, and what was left out. Raises ValueError for unknown words."""
        omissions, options = list[Omission](), self._options(cells)
        fields: dict[str, Any] = {
            "group": self._handle,
            "options": [{"name": name, "value": value} for name, value in options],
            **self._names(cells, options, omissions),
            **self._texts(cells),
            **self._stock(cells, omissions),
            **self._weight(cells, omissions),
        }
        if sku := _sku(cells):
            fields["sku"] = sku
        for field in ("price", "barcode", "compare_at_price", "requires_shipping"):
            if field in self._columns:
                fields[field] = cells.get(field)
        if status := status_of(self._shared("status", cells), self._shared("published", cells)):
            fields["status"] = status
        if "image" in self._columns or "variant_image" in self._columns:
            own = [cells["variant_image"]] if "variant_image" in cells else []
            fields["images"] = list(dict.fromkeys([*own, *self._images]))
        if "cost" in cells:
            omissions.append(Omission("Cost per item: left out, since products have no cost"))
        return fields, omissions

    def _names(
        self, cells: Mapping[str, str], options: Sequence[tuple[str, str]], omissions: list[Omission]
    ) -> dict[str, Any]:
        if not (title := self._shared("title", cells)):
            return {}
        title, values = _one_line(title), [_one_line(value) for _, value in options]
        name = " - ".join(filter(None, [title, " / ".join(values)]))
        if len(name) <= MAX_LONG_LINE:
            return {"name": name}
        kind = f"name: without the option values, since it has more than {MAX_LONG_LINE} characters"
        omissions.append(Omission(kind))
        return {"name": title}

    def _texts(self, cells: Mapping[str, str]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if "body" in self._columns:
            html = self._shared("body", cells) or ""
            if html not in self._description:
                self._description = {html: text_of(html)}
            fields["description"] = self._description[html]
        if "vendor" in self._columns:
            fields["brand"] = self._shared("vendor", cells)
        if "type" in self._columns or "product_category" in self._columns:
            category = (self._shared("product_category", cells) or "").rpartition(">")[2].strip()
            fields["category"] = self._shared("type", cells) or category or None
        if "tags" in self._columns:
            fields["tags"] = self._shared("tags", cells)
        return fields

    def _stock(self, cells: Mapping[str, str], omissions: list[Omission]) -> dict[str, Any]:
        quantity = cells.get("quantity")
        if "tracker" in self._columns and "tracker" not in cells and (quantity is None or _is_zero(quantity)):
            omissions.append(Omission("stock: not changed, since Shopify does not track this inventory"))
            return {}
        if quantity is None:
            return {}
        return {"stock": "0" if quantity.startswith("-") else quantity}

    def _weight(self, cells: Mapping[str, str], omissions: list[Omission]) -> dict[str, Any]:
        if not self._columns.keys() & {"grams", "weight"}:
            return {}
        number, unit = (cells["grams"], "g") if "grams" in cells else (cells.get("weight"), cells.get("weight_unit"))
        if number is None:
            return {"weight_g": None}
        try:
            return {"weight_g": int((Decimal(number) * _GRAMS[(unit or "g").lower()]).to_integral_value())}
        except (InvalidOperation, ValueError, KeyError, OverflowError):
            kind = "weight_g: left out what is not a number in g, kg, oz or lb"
            omissions.append(Omission(kind, f"{number} {unit or ''}"[:60]))
            return {}


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+ *")


def _one_line(cell: str) -> str:
    """Return the text of a cell without line breaks and other control characters, which a name cannot have."""
    return _CONTROL.sub(" ", cell).strip()


def _is_zero(quantity: str) -> bool:
    return re.fullmatch(r"-?0+(\.0*)?", quantity) is not None

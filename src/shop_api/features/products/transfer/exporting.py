"""Export of the catalogue to a file that imports again without changes."""

import csv
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from shop_api.features.products.models import Product
from shop_api.features.products.transfer.formulas import escaped
from shop_api.features.products.transfer.rows import Format
from shop_api.kernel.files import replacing

_COLUMNS = (
    *("product_id", "sku", "barcode", "group", "options", "position", "name", "description", "price.amount"),
    *("price.currency", "compare_at_price.amount", "tax_class", "weight_g", "requires_shipping", "stock", "category"),
    *("brand", "tags", "images", "attributes", "status"),
)


async def export(products: AsyncIterator[Product], form: Format, out: IO[str], *, raw: bool = False) -> int:
    """Stream `products` to `out`, with the fields of ProductIn only. Return the number of products.

    In CSV, texts that a spreadsheet would read as formulas are escaped unless `raw`.
    """
    count = 0
    write_csv = csv.writer(out).writerow
    if form == "csv":
        write_csv(_COLUMNS)
    async for product in products:
        fields = {"product_id": product.product_id, **product.content()}
        match form:
            case "csv":
                write_csv(_cells(fields) if raw else map(_as_text, _cells(fields)))
            case "jsonl":
                out.write(_json(fields) + "\n")
            case "json":
                out.write((",\n" if count else "[\n") + _json(fields))
        count += 1
    if form == "json":
        out.write("\n]\n" if count else "[]\n")
    return count


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _cells(fields: dict[str, Any]) -> list[Any]:
    flat = fields | {f"price.{part}": value for part, value in fields["price"].items()}
    flat["compare_at_price.amount"] = (fields["compare_at_price"] or {}).get("amount")
    flat["options"] = _json(fields["options"]) if fields["options"] else ""
    flat["requires_shipping"] = "true" if fields["requires_shipping"] else "false"
    flat["tags"] = ",".join(fields["tags"])
    # A URL can contain a comma but no space. A comma before http, however, would be read as a separator.
    flat["images"] = _json(fields["images"]) if ",http" in str(fields["images"]) else " ".join(fields["images"])
    flat["attributes"] = _json(fields["attributes"]) if fields["attributes"] else ""
    return [flat[column] for column in _COLUMNS]


def _as_text(cell: Any) -> Any:
    # Prices and stock are never negative, so a number cannot begin with a minus sign and stays a number.
    return escaped(cell) if isinstance(cell, str) else cell


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Open `path` for writing. The file appears, or replaces an existing one, only once it is written completely."""
    if path.exists() and not path.is_file():  # a pipe or a device
        with path.open("w", encoding="utf-8", newline="") as out:
            yield out
        return
    with replacing(path, mode=0o666, encoding="utf-8", newline="") as out:
        yield out

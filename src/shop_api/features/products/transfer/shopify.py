"""Conversion of Shopify's product export (CSV), which has a row for each variant and each additional image.

Source: Shopify Help Center, "Using CSV files to import and export products". Conversion rules:

- Every variant becomes a product. Its id is the SKU, or else the handle, with the variant's position appended from
  the second variant on: `assam`, `assam-2`.
- Its name is the title with the options, as Shopify shows it in an order: `Assam - 250 g / Tin`. Each option becomes
  a text attribute, and so does the handle, which links the variants of a Shopify product.
- Description, vendor, type, tags and status appear only in the first row of a handle and apply to all its variants.
  The description becomes plain text. The category is the type, or else the last part of the product category.
- The variant's image comes first, then the images of all rows of the handle, at most 20.
- Negative stock, which Shopify writes for oversold variants, becomes 0.
- An active but unpublished product is a draft. `Published` is a boolean as Shopify or as Excel in one of 20 languages
  writes it (`FAUX`); the rows of a handle with any other word are rejected, since guessing could make a draft public.
- The file contains no currency: pass `--set price.currency=USD`. Other columns can be mapped by name:
  `--map "attributes.weight_g=Variant Grams"`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

from shop_api.features.products.transfer.booleans import as_boolean
from shop_api.features.products.transfer.rows import Row

COLUMNS = ("Handle", "Title", "Variant Price")
"""Columns that identify a file as a Shopify export."""

_MOST_IMAGES = 20
_OF_ONE_ROW = ("Variant", "Option", "Image")


def variants(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield one row per variant, with the fields of a product in addition to Shopify's columns."""
    group: list[Row] = []
    for row in rows:
        if row.problem:
            yield row
            continue
        if group and row.values.get("Handle") != group[0].values.get("Handle"):
            yield from _variants_of(group)
            group = []
        group.append(row)
    if group:
        yield from _variants_of(group)


def _variants_of(group: Sequence[Row]) -> Iterator[Row]:
    first = group[0].values
    if "Handle" not in first:
        yield from (Row(row.number, {}, "Handle is missing") for row in group)
        return
    images = [row.values["Image Src"] for row in group if "Image Src" in row.values]
    own = [row for row in group if row is group[0] or row.values.keys() & {"Variant SKU", "Variant Price"}]
    shared = {name: value for name, value in first.items() if not name.startswith(_OF_ONE_ROW)}
    try:
        shared |= _shared_fields(first)
    except ValueError as error:
        yield from (Row(row.number, {}, str(error)) for row in own)
        return
    for place, row in enumerate(own, 1):
        yield Row(row.number, row.values | shared | _own_fields(row.values, first, place, images))


def _shared_fields(first: Mapping[str, str]) -> dict[str, Any]:
    status = first.get("Status", "active").strip().lower()
    is_published = as_boolean("Published", first.get("Published", "true"))
    if status == "active" and not is_published:
        status = "draft"
    return {
        "description": _plain(first.get("Body (HTML)", "")),
        "brand": first.get("Vendor"),
        "category": first.get("Type") or first.get("Product Category", "").rpartition(">")[2].strip(),
        "tags": first.get("Tags"),
        "status": status,
    }


def _own_fields(row: Mapping[str, str], first: Mapping[str, str], place: int, images: list[str]) -> dict[str, Any]:
    handle = first["Handle"]
    options = {
        re.sub(r"[.$]", "", first[f"Option{n} Name"]): row[f"Option{n} Value"]
        for n in (1, 2, 3)
        if f"Option{n} Name" in first and row.get(f"Option{n} Value", "Default Title") != "Default Title"
    }
    stock = row.get("Variant Inventory Qty", "0")
    pictures = dict.fromkeys([row["Variant Image"], *images] if "Variant Image" in row else images)
    return {
        # Shopify prefixes a SKU with an apostrophe if a spreadsheet would read it as a number.
        "product_id": row.get("Variant SKU", "").lstrip("'") or (handle if place == 1 else f"{handle}-{place}"),
        "name": " - ".join(filter(None, [first.get("Title"), " / ".join(options.values())])),
        "price": row.get("Variant Price"),
        "stock": "0" if stock.startswith("-") else stock,
        "images": [*pictures][:_MOST_IMAGES],
        "attributes": {"handle": handle, **options},
    }


class _Text(HTMLParser):
    """Extracts the text of an HTML fragment, one line for each block, with the cells of a table row in one line."""

    _BLOCKS = frozenset(
        {
            *(
                "address",
                "article",
                "aside",
                "blockquote",
                "br",
                "caption",
                "center",
                "dd",
                "details",
                "dialog",
                "div",
            ),
            *("dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6"),
            *("header", "hgroup", "hr", "legend", "li", "main", "menu", "nav", "ol", "p", "pre", "search", "section"),
            *("summary", "table", "tbody", "tfoot", "thead", "tr", "ul"),
        }
    )
    _CELLS = frozenset({"td", "th"})
    _HIDDEN = frozenset({"script", "style"})
    _ITEM = "\n- "

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden = tag in self._HIDDEN
        if tag in self._CELLS:
            self.text += " "
        if tag in self._BLOCKS and not self.text.endswith(self._ITEM):  # a block within an item begins no line
            self.text += self._ITEM if tag == "li" else "\n"

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False
        if tag in self._BLOCKS:
            self.text += "\n"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += re.sub(r"\s+", " ", data)


def _plain(html: str) -> str:
    parser = _Text()
    parser.feed(html)
    parser.close()
    lines = (line.strip() for line in parser.text.splitlines())
    return "\n".join(line for line in lines if line)

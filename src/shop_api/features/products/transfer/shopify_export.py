"""Export of the catalogue as Shopify's product template (CSV), which `shopify` imports again without changes.

What the template has no place for is counted: more than three options, a name without the option values at its end,
and texts of a group that a variant lacks. Attributes, tax classes and positions are not in the file, and so an import
keeps them. Cells are not escaped against formulas, as in Shopify's own files.
"""

import csv
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import IO

from shop_api.features.products.models import Product
from shop_api.features.products.transfer.changes import InvalidRow
from shop_api.features.products.transfer.html_text import html_of
from shop_api.features.products.transfer.mapping import RowMapping
from shop_api.features.products.transfer.shopify import DEFAULT_VALUE, Handle
from shop_api.features.products.transfer.shopify_columns import columns_of
from shop_api.features.products.transfer.spill import ProductsByGroup, StoredRow
from shop_api.kernel.clock import utc_now
from shop_api.kernel.money import EXPONENTS, Money

_OPTIONS = (1, 2, 3)
TEMPLATE = (
    *("Title", "URL handle", "Description", "Vendor", "Product category", "Type", "Tags"),
    *("Published on online store", "Status", "SKU", "Barcode"),
    *(f"Option{n} {part}" for n in _OPTIONS for part in ("name", "value", "Linked To")),
    *("Price", "Compare-at price", "Cost per item", "Charge tax", "Tax code"),
    *("Unit price total measure", "Unit price total measure unit"),
    *("Unit price base measure", "Unit price base measure unit"),
    *("Inventory tracker", "Inventory quantity", "Continue selling when out of stock", "Weight value (grams)"),
    *("Weight unit for display", "Requires shipping", "Fulfillment service", "Product image URL", "Image position"),
    *("Image alt text", "Variant image URL", "Gift card", "SEO title", "SEO description"),
    "Color (product.metafields.shopify.color-pattern)",
    *(f"Google Shopping / {name}" for name in ("Google product category", "Gender", "Age group")),
    *(f"Google Shopping / {name}" for name in ("Manufacturer part number (MPN)", "Ad group name", "Ads labels")),
    *(f"Google Shopping / {name}" for name in ("Condition", "Custom product")),
    *(f"Google Shopping / Custom label {n}" for n in range(5)),
)
"""The columns of the template that Shopify's admin offers for import, in its order."""
_SHARED = ("Description", "Vendor", "Type", "Tags", "Published on online store", "Status", "Title")


class SeveralCurrencies(Exception):
    """The catalogue has prices in more than one currency, but the file has no place for a currency."""


async def export_shopify(products: AsyncIterator[Product], out: IO[str]) -> tuple[int, Counter[str]]:
    """Write `products` of one currency to `out`. Return their number, and by field, how many products would differ
    after importing the file again. Raises SeveralCurrencies before anything is written."""
    gathered, currencies = ProductsByGroup(), set[str]()
    async for product in products:
        gathered.add(product)
        currencies.add(product.price.currency)
        if len(currencies) > 1:
            raise SeveralCurrencies
    write, count, different = csv.DictWriter(out, TEMPLATE), 0, Counter[str]()
    write.writeheader()
    for group in gathered.groups():
        rows = list(_rows(group))
        write.writerows(rows)
        count += len(group)
        different.update(_differences(group, rows))
    return count, different


def _rows(group: Sequence[Product]) -> Iterator[dict[str, str]]:
    """Yield the rows of one handle: one for each variant, and one for each further image."""
    handle, images = group[0].group or group[0].product_id, _images_of(group)
    first: Mapping[str, str] = {}
    for place, product in enumerate(group):
        row = _row(product) | {"URL handle": handle}
        if place < len(images):
            row |= {"Product image URL": images[place], "Image position": str(place + 1)}
        if product.images != images:
            row["Variant image URL"] = product.images[0] if product.images else ""
        for column in _SHARED if place else ():
            row[column] = "" if row[column] == first[column] else row[column]
        first = first or row
        yield row
    for position, image in enumerate(images[len(group) :], len(group) + 1):
        yield {"URL handle": handle, "Product image URL": image, "Image position": str(position)}


def _images_of(group: Sequence[Product]) -> list[str]:
    """Return the images of the handle, in an order from which those of each variant follow if there is one."""
    # The image of a variant may be one of those of the handle, or not.
    for candidate in [images for product in group for images in (product.images, product.images[1:])]:
        if all(_follow(product.images, candidate) for product in group):
            return candidate
    return list(dict.fromkeys(image for product in group for image in product.images))


def _follow(images: Sequence[str], candidate: Sequence[str]) -> bool:
    own = images[:1]
    return images in (candidate, [*own, *(image for image in candidate if image not in own)])


def _row(product: Product) -> dict[str, str]:
    values = [option.value for option in product.options]
    row = {
        "Title": product.name.removesuffix(f" - {' / '.join(values)}") if values else product.name,
        "Description": html_of(product.description),
        "Vendor": product.brand or "",
        "Type": product.category or "",
        "Tags": ", ".join(product.tags),
        "Published on online store": _boolean(product.status == "active"),
        "Status": product.status,
        "SKU": f"'{product.sku}" if (product.sku or "").startswith("'") else product.sku or "",
        "Barcode": product.barcode or "",
        "Price": _decimal(product.price),
        "Compare-at price": _decimal(product.compare_at_price) if product.compare_at_price else "",
        "Charge tax": "TRUE",
        "Inventory tracker": "shopify",
        "Inventory quantity": str(product.stock),
        "Continue selling when out of stock": "DENY",
        "Weight value (grams)": "" if product.weight_g is None else str(product.weight_g),
        "Weight unit for display": "g",
        "Requires shipping": _boolean(product.requires_shipping),
        "Fulfillment service": "manual",
        "Gift card": "FALSE",
    }
    if not values:
        row |= {"Option1 name": "Title", "Option1 value": DEFAULT_VALUE}
    for n, option in zip(_OPTIONS, product.options, strict=False):
        row |= {f"Option{n} name": option.name, f"Option{n} value": option.value}
    return row


def _boolean(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def _decimal(money: Money) -> str:
    return f"{Decimal(money.amount).scaleb(-EXPONENTS[money.currency]):f}"


def _differences(group: Sequence[Product], rows: Sequence[dict[str, str]]) -> Iterator[str]:
    """Yield the fields of each product that an import of `rows` would change."""
    stored = [StoredRow(number, row) for number, row in enumerate(rows, 1)]
    read = {row.number: row for row in Handle(stored, columns_of(TEMPLATE), lambda _: True).rows()}
    mapping = RowMapping({}, {"price.currency": group[0].price.currency}, strict=False, typed=False)
    for number, product in enumerate(group, 1):
        try:
            changes = mapping.changes(read[number].values)
            if product.group is None and changes.fields["group"] == product.product_id:
                del changes.fields["group"]
            after = changes.next_version(product, utc_now()).content()
        except (InvalidRow, KeyError):
            yield "all fields"
        else:
            yield from (name for name, value in product.content().items() if after[name] != value)

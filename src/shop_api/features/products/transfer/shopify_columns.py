"""The columns of Shopify's product export, of which there are two generations, and the words in their cells.

Sources: Shopify Help Center, "Using CSV files to import and export products"; the files of real shops.
"""

from collections.abc import Iterable, Mapping

from shop_api.features.products.transfer.booleans import as_boolean, folded

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "handle": ("Handle", "URL handle"),
    "title": ("Title",),
    "body": ("Body (HTML)", "Body HTML", "Description"),
    "vendor": ("Vendor",),
    "product_category": ("Product Category", "Standardized Product Type", "Standard Product Type"),
    "type": ("Type", "Custom Product Type"),
    "tags": ("Tags",),
    "published": ("Published", "Published on online store"),
    "status": ("Status",),
    **{
        f"option{n}_{part}": (f"Option{n} {part}", f"Option {n} {part}")
        for n in (1, 2, 3)
        for part in ("name", "value")
    },
    "sku": ("Variant SKU", "SKU"),
    "barcode": ("Variant Barcode", "Barcode"),
    "grams": ("Variant Grams", "Weight value (grams)"),
    "weight": ("Variant Weight",),
    "weight_unit": ("Variant Weight Unit",),
    "tracker": ("Variant Inventory Tracker", "Inventory tracker"),
    "quantity": ("Variant Inventory Qty", "Inventory quantity", "Variant Inventory Quantity"),
    "price": ("Variant Price", "Price"),
    "compare_at_price": ("Variant Compare At Price", "Compare-at price"),
    "requires_shipping": ("Variant Requires Shipping", "Requires shipping"),
    "image": ("Image Src", "Product image URL"),
    "variant_image": ("Variant Image", "Variant image URL"),
    "cost": ("Cost per item",),
}
"""The names of each column that is read. They are compared without regard to case and spaces."""
REQUIRED = frozenset({"handle", "title"})
"""Columns without which a file is no export of Shopify."""


def _key(name: str) -> str:
    return folded(name).replace(" ", "").replace("-", "")


_BY_NAME = {_key(name): column for column, names in COLUMNS.items() for name in names}


def columns_of(header: Iterable[str]) -> dict[str, str]:
    """Return the names in `header` of the columns that it has, by their key in COLUMNS."""
    found: dict[str, str] = {}
    for name in header:
        if column := _BY_NAME.get(_key(name)):
            found.setdefault(column, name)
    return found


_ACTIVE = """
    active aktiv actif activo attivo ativo actief aktiivinen aktywny aktywne aktivní aktív activ aktif активный
    активен ενεργό 有効 アクティブ 活跃 有效 已激活
"""
_DRAFT = """
    draft unlisted entwurf brouillon borrador bozza rascunho concept utkast kladde udkast luonnos szkic koncept
    piszkozat ciornă taslak черновик πρόχειρο 下書き 草稿
"""
_ARCHIVED = """
    archived archiviert archivé archivado archiviato arquivado gearchiveerd arkiverad arkiveret arkivert arkistoitu
    zarchiwizowany zarchiwizowane archivováno archivovaný archivált arhivat arşivlenmiş архивировано архивный
    αρχειοθετημένο アーカイブ済み 已归档 已存档
"""
_STATUS = {
    folded(word): status
    for status, words in (("active", _ACTIVE), ("draft", _DRAFT), ("archived", _ARCHIVED))
    for word in words.split()
}


def status_of(status: str | None, published: str | None) -> str | None:
    """Return the status of a product, or None if the file does not say it. What is not published is not active.
    Raises ValueError for a word that is not in the lists."""
    is_published = None if published is None else _read("Published", published)
    if status is None:
        return None if is_published is None else ("active" if is_published else "draft")
    known = _STATUS.get(folded(status))
    if known is None:
        raise ValueError(f"Status: {status[:40]!r} is not active, draft or archived")
    return "draft" if known == "active" and is_published is False else known


def _read(name: str, word: str) -> bool:
    try:
        return as_boolean(word)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None

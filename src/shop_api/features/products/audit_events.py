"""Audit events of products: changes of price and status, deletions and imports."""

from typing import Protocol

from shop_api.audit.models import AuditEvent, State
from shop_api.features.products.models import Product

PRODUCT, IMPORT = "product", "import"
AUDIT_SUBJECTS = (PRODUCT, IMPORT)
AUDIT_ACTIONS = ("price_changed", "status_changed", "product_deleted", "products_imported")


def changed(before: Product, after: Product) -> list[AuditEvent]:
    """Return the audit events of a change, empty if neither price nor status differs."""
    events = []
    if before.price != after.price:
        events.append(AuditEvent("price_changed", PRODUCT, before.product_id, _price(before), _price(after)))
    if before.status != after.status:
        events.append(AuditEvent("status_changed", PRODUCT, before.product_id, _status(before), _status(after)))
    return events


def deleted(product: Product) -> AuditEvent:
    return AuditEvent("product_deleted", PRODUCT, product.product_id, _price(product) | _status(product), {})


class Counts(Protocol):
    """The numbers of rows of an import, by outcome."""

    created: int
    updated: int
    unchanged: int
    rejected: int


def imported(import_id: str, file: str, counts: Counts) -> AuditEvent:
    numbers = {name: getattr(counts, name) for name in ("created", "updated", "unchanged", "rejected")}
    return AuditEvent("products_imported", IMPORT, import_id, {}, {"file": file, **numbers})


def _price(product: Product) -> State:
    return {"price_amount": product.price.amount, "price_currency": product.price.currency}


def _status(product: Product) -> State:
    return {"status": product.status}

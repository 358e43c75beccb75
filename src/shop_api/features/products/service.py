"""Catalogue rules: who may see which products, and how a product changes."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from shop_api.audit.models import AuditContext
from shop_api.audit.repository import AuditLog
from shop_api.cache.cache import HttpCache
from shop_api.features.products import audit_events
from shop_api.features.products.cache_tags import product_tags
from shop_api.features.products.errors import DuplicateProduct, ProductNotFound
from shop_api.features.products.list_models import Facets, ProductFilter, ProductQuery, ProductSort
from shop_api.features.products.models import NOT_ABOVE_PRICE, Product, ProductIn, ProductPatch, ProductView
from shop_api.features.products.permissions import PRODUCTS_READ_UNPUBLISHED
from shop_api.features.products.repository import ProductRepository
from shop_api.kernel.clock import Clock
from shop_api.kernel.errors import FieldError, Forbidden, InvalidRequest, Unauthenticated, VersionConflict
from shop_api.kernel.messages import in_words, place
from shop_api.kernel.pagination import Cursors
from shop_api.kernel.permissions import CallerLookup
from shop_api.kernel.schema import merged
from shop_api.kernel.versions import ExpectedVersions, first_version
from shop_api.storage.mongo.attempts import Attempt, OnlyAttempt, create_once
from shop_api.storage.mongo.client import Document
from shop_api.storage.mongo.transactions import Session, Transactions


class ProductService:
    def __init__(
        self,
        products: ProductRepository,
        transactions: Transactions,
        audit: AuditLog,
        cursors: Cursors,
        cache: HttpCache,
        clock: Clock,
    ) -> None:
        self._products = products
        self._transactions = transactions
        self._audit = audit
        self._cursors = cursors
        self._cache = cache
        self._clock = clock

    async def get(self, product_id: str, lookup_caller: CallerLookup) -> ProductView:
        """Return a product. Raises ProductNotFound if it does not exist, or is not active and the caller may not read
        unpublished products."""
        product = await self._products.view(product_id)
        if product is not None and product["status"] == "active":
            return product
        caller = await lookup_caller()  # in both cases, so that the response does not reveal which one applies
        if product is None or not (caller and caller.may(PRODUCTS_READ_UNPUBLISHED)):
            raise ProductNotFound
        return product

    async def list_page(
        self, query: ProductQuery, lookup_caller: CallerLookup
    ) -> tuple[list[ProductView], str | None]:
        """Return a page of products and the cursor of the next page."""
        await _check_filter(query, lookup_caller)
        query = query.model_copy(update={"sort": query.sort or _default_sort(query)})
        if query.sort == "relevance" and not query.q:
            message = "relevance needs q"
            raise InvalidRequest([FieldError(("query", "sort"), "relevance_without_q", message)])
        if query.sort == "position" and query.group is None:
            message = "position needs group"
            raise InvalidRequest([FieldError(("query", "sort"), "position_without_group", message)])
        scope = query.model_dump_json(exclude={"limit", "cursor", "include_total"})
        after = self._cursors.decode(scope, query.cursor) if query.cursor else None
        products, key = await self._products.list_page(query, after)
        return products, self._cursors.encode(scope, key) if key else None

    async def count(self, query: ProductQuery) -> int | None:
        return await self._products.count(query)

    async def size(self) -> int:
        """Return the approximate number of products of any status."""
        return await self._products.size()

    async def facets(self, filters: ProductFilter, lookup_caller: CallerLookup) -> Facets:
        await _check_filter(filters, lookup_caller)
        return await self._products.facets(filters)

    async def add(self, body: ProductIn, attempt: Attempt | None = None) -> Product:
        """Add a product, with a generated id if it has none. All attempts at one request add one product, and
        return it as added. Raises DuplicateProduct if the id is taken."""
        attempt = attempt or OnlyAttempt()
        now = self._clock()
        product = Product(
            **body.model_dump(exclude={"product_id"}),
            product_id=body.product_id or attempt.new_id,
            version=first_version(now),
            created_at=now,
            updated_at=now,
        )
        product = await self._added(product, attempt)
        await self._cache.invalidate(product_tags(product.product_id))
        return product

    async def _added(self, product: Product, attempt: Attempt) -> Product:
        if not attempt.is_keyed:
            await self._products.add(product)
            return product

        async def create(session: Session) -> Document:
            await self._products.add(product, session)
            return product.model_dump()

        return Product.of(await create_once(attempt, self._transactions, create, DuplicateProduct))

    async def replace(
        self, product_id: str, body: ProductIn, expected: ExpectedVersions, context: AuditContext
    ) -> Product:
        """Replace all of a product's content. If nothing differs, the version stays the same."""
        _check_id(product_id, body.product_id)
        return await self._change(product_id, expected, lambda _: body, context)

    async def patch(
        self, product_id: str, patch: ProductPatch, expected: ExpectedVersions, context: AuditContext
    ) -> Product:
        """Apply a merge patch. Concurrent patches of different fields all take effect."""
        _check_id(product_id, patch.product_id)
        changes = patch.changes()
        changes.pop("product_id", None)

        def patched(current: Product) -> ProductIn:
            return _validated(current, changes)

        return await self._change(product_id, expected, patched, context)

    async def remove(self, product_id: str, expected: ExpectedVersions, context: AuditContext) -> None:
        async def work(session: Session) -> None:
            product = await self._current(product_id, expected, session)
            await self._products.remove(product_id, session)
            await self._audit.record([audit_events.deleted(product)], context, session)

        await self._transactions.run(work)
        await self._cache.invalidate(product_tags(product_id))

    async def _change(
        self,
        product_id: str,
        expected: ExpectedVersions,
        new: Callable[[Product], ProductIn],
        context: AuditContext,
    ) -> Product:
        """Replace the product by the result of `new`. Retries after a concurrent change (optimistic concurrency)."""
        while True:
            current = await self._current(product_id, expected)
            changed = current.changed(new(current), self._clock())
            if current.has_same_content(changed.content()):
                return current
            if await self._replace(current, changed, context):
                await self._cache.invalidate(product_tags(product_id))
                return changed

    async def _replace(self, current: Product, changed: Product, context: AuditContext) -> bool:
        """Store the next version. Uses a transaction only if the change is audited."""
        events = audit_events.changed(current, changed)
        if not events:
            return await self._products.replace(changed)

        async def work(session: Session) -> bool:
            replaced = await self._products.replace(changed, session)
            if replaced:
                await self._audit.record(events, context, session)
            return replaced

        return await self._transactions.run(work)

    async def _current(self, product_id: str, expected: ExpectedVersions, session: Session | None = None) -> Product:
        product = await self._products.get(product_id, session)
        if product is None:
            raise ProductNotFound
        if not expected.allow(product.version):
            raise VersionConflict(product.version)
        return product


def _default_sort(query: ProductQuery) -> ProductSort:
    if query.q:
        return "relevance"
    return "newest" if query.group is None else "position"


async def _check_filter(filters: ProductFilter, lookup_caller: CallerLookup) -> None:
    if filters.status is not None:
        caller = await lookup_caller()
        if not (caller and caller.may(PRODUCTS_READ_UNPUBLISHED)):
            raise Forbidden("Only an admin can filter by status.") if caller else Unauthenticated
    if filters.min_price is not None and filters.max_price is not None and filters.min_price > filters.max_price:
        message = "must not be above max_price"
        raise InvalidRequest([FieldError(("query", "min_price"), "empty_range", message)])


def _check_id(product_id: str, body: str | None) -> None:
    if body is not None and body != product_id:
        message = "must be the one in the path, or absent"
        raise InvalidRequest([FieldError(("body", "product_id"), "different_id", message)])


def _validated(current: Product, changes: dict[str, Any]) -> ProductIn:
    """Return `current` after the merge patch `changes`. Other fields stay, even if validation would reject them."""
    fields = merged(current.content(), changes)
    try:
        return ProductIn.model_validate(fields)
    except ValidationError as error:
        errors = [
            FieldError(("body", *place(e["loc"], fields)), e["type"], in_words(e))
            for e in error.errors()
            if e["loc"][0] in changes or (e["type"] == NOT_ABOVE_PRICE and "price" in changes)
        ]
        if errors:
            raise InvalidRequest(errors) from None
    stored = Product.model_validate(current.model_dump() | fields)
    return ProductIn.model_construct(**{name: getattr(stored, name) for name in fields})

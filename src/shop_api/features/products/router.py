"""/products: the product catalogue."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Response

from shop_api.cache.marking import cacheable
from shop_api.features.products import cache_tags
from shop_api.features.products.dependencies import ProductServiceDep
from shop_api.features.products.errors import DuplicateProduct, ProductNotFound
from shop_api.features.products.list_models import Facets, ProductFilter, ProductPage, ProductQuery
from shop_api.features.products.models import Product, ProductIn, ProductOut, ProductPatch, ProductView
from shop_api.features.products.permissions import PRODUCTS_WRITE
from shop_api.http.bodies import body_limit
from shop_api.http.dependencies import AttemptDep, AuditContextDep, CallerLookupDep, ExpectedVersionsDep, Requires
from shop_api.http.etags import etag
from shop_api.http.idempotency.errors import KEYED
from shop_api.http.idempotency.route import PARAMETER, CreatingRoute
from shop_api.http.openapi import CONTENT_ETAG, ETAG, LOCATION, NOT_MODIFIED, PUBLIC
from shop_api.http.problems import BODY, SIGNED_IN, problems
from shop_api.http.responses import JsonResponse
from shop_api.http.routing import MERGE_PATCH
from shop_api.kernel.errors import Forbidden, VersionConflict
from shop_api.kernel.messages import allowed
from shop_api.kernel.permissions import Caller

router = APIRouter(prefix="/products", tags=["Products"], route_class=CreatingRoute)

_Editor = Annotated[Caller, Requires(PRODUCTS_WRITE)]
# Ten thousand characters of description, fifty attributes and twenty addresses, each in its longest spelling.
_MAX_BODY_BYTES = 1024 * 1024
_AS_ADMIN = (*SIGNED_IN, Forbidden)
_PUBLIC_LIST = problems(*_AS_ADMIN) | {200: CONTENT_ETAG, 304: NOT_MODIFIED}
_ID = allowed("^[A-Za-z0-9._-]{1,64}$", "An id has 1 to 64 letters A to Z and a to z, digits and . _ -")
_ProductId = Annotated[str, Path(pattern=_ID, description="The product's id.", examples=["tea-assam-250"])]


@router.get("", response_model=ProductPage, responses=_PUBLIC_LIST, openapi_extra=PUBLIC)
@cacheable(cache_tags.ALL)
async def list_products(
    query: Annotated[ProductQuery, Query()], lookup_caller: CallerLookupDep, products: ProductServiceDep
) -> Response:
    """List products, one page at a time. Filters can be combined with each other and with any sort order."""
    items, next_cursor = await products.list_page(query, lookup_caller)
    page: dict[str, Any] = {"items": items, "next_cursor": next_cursor}
    if query.include_total:
        page["total"] = await products.count(query)
    return JsonResponse(page)


@router.get("/facets", responses=_PUBLIC_LIST, openapi_extra=PUBLIC)
@cacheable(cache_tags.ALL)
async def count_facets(
    filters: Annotated[ProductFilter, Query()], lookup_caller: CallerLookupDep, products: ProductServiceDep
) -> Facets:
    """Count products by category, brand, tag and price band, with the same filters as the list."""
    return await products.facets(filters, lookup_caller)


@router.get(
    "/{product_id}",
    response_model=ProductOut,
    responses=problems(*SIGNED_IN, ProductNotFound) | {200: ETAG, 304: NOT_MODIFIED},
    openapi_extra=PUBLIC,
)
@cacheable(cache_tags.ONE)
async def get_product(
    product_id: _ProductId, lookup_caller: CallerLookupDep, products: ProductServiceDep
) -> Response:
    """Return a product. Only admins can see products that are not active."""
    product = await products.get(product_id, lookup_caller)
    return _answer(product, product["version"])


@router.post(
    "",
    status_code=201,
    response_model=ProductOut,
    responses=problems(*_AS_ADMIN, *BODY, *KEYED, DuplicateProduct) | {201: LOCATION},
    openapi_extra=PARAMETER,
)
@body_limit(_MAX_BODY_BYTES)
async def add_product(body: ProductIn, caller: _Editor, attempt: AttemptDep, products: ProductServiceDep) -> Response:
    """Add a product. Generates an id if `product_id` is absent."""
    product = await products.add(body, attempt)
    response = _answer(product, product.version, 201)
    response.headers["Location"] = f"/products/{product.product_id}"
    return response


_CHANGING = problems(*_AS_ADMIN, *BODY, ProductNotFound, VersionConflict) | {200: ETAG}


@router.put("/{product_id}", response_model=ProductOut, responses=_CHANGING)
@body_limit(_MAX_BODY_BYTES)
async def replace_product(
    product_id: _ProductId,
    body: ProductIn,
    caller: _Editor,
    expected: ExpectedVersionsDep,
    context: AuditContextDep,
    products: ProductServiceDep,
) -> Response:
    """Replace a product. Absent members get their defaults. If nothing differs, the version stays the same."""
    product = await products.replace(product_id, body, expected, context)
    return _answer(product, product.version)


@router.patch("/{product_id}", response_model=ProductOut, responses=_CHANGING)
@body_limit(_MAX_BODY_BYTES)
async def patch_product(
    product_id: _ProductId,
    patch: Annotated[ProductPatch, Body(media_type=MERGE_PATCH)],
    caller: _Editor,
    expected: ExpectedVersionsDep,
    context: AuditContextDep,
    products: ProductServiceDep,
) -> Response:
    """Change parts of a product (JSON Merge Patch, RFC 7396): absent members stay, null removes a value."""
    product = await products.patch(product_id, patch, expected, context)
    return _answer(product, product.version)


@router.delete("/{product_id}", status_code=204, responses=problems(*_AS_ADMIN, ProductNotFound, VersionConflict))
async def delete_product(
    product_id: _ProductId,
    caller: _Editor,
    expected: ExpectedVersionsDep,
    context: AuditContextDep,
    products: ProductServiceDep,
) -> None:
    """Delete a product."""
    await products.remove(product_id, expected, context)


def _answer(product: Product | ProductView, version: int, status_code: int = 200) -> Response:
    # Clients may store it, but must revalidate it with its ETag.
    return JsonResponse(product, status_code, {"ETag": etag(version), "Cache-Control": "no-cache"})

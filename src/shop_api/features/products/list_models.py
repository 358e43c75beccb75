"""Lists of products: filters, orders, pages and facets."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shop_api.features.products.fields import Status
from shop_api.features.products.models import ProductOut
from shop_api.kernel.money import MAX_AMOUNT, Currency
from shop_api.kernel.pagination import CursorText, IncludeTotal, Limit, Page
from shop_api.kernel.schema import Line, LongLine, Schema, Slug


class ProductPage(Page[ProductOut]):
    """A page of products in the requested order."""

    total: int | None = None
    """Number of matching products, only with `include_total=true`. The count stops at 10,000, which then means 10,000
    or more; null if counting takes longer than a second."""


ProductSort = Literal["newest", "price", "-price", "name", "-name", "relevance", "position"]


class ProductFilter(BaseModel):
    """Filters of products."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    q: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    """Words that must all occur in name, brand, category or tags. The last one matches as a prefix."""
    sku: LongLine | None = None
    barcode: LongLine | None = None
    group: LongLine | None = None
    """Only the variants of this group, in their order unless `sort` says otherwise."""
    category: Slug | None = None
    tag: Slug | None = None
    brand: Line | None = None
    min_price: Annotated[int | None, Field(ge=0, le=MAX_AMOUNT)] = None
    """In minor units. Amounts are compared without conversion: set `currency` too if the shop has several."""
    max_price: Annotated[int | None, Field(ge=0, le=MAX_AMOUNT)] = None
    """In minor units."""
    currency: Currency | None = None
    in_stock: bool | None = None
    """`true` for products in stock, `false` for products out of stock."""
    status: Status | None = None
    """Requires an admin. If absent, only active products match."""


class ProductQuery(ProductFilter):
    """Filters, sort order and page of a list of products."""

    sort: ProductSort | None = None
    """Default: `newest`; with `q` `relevance`: matches in the name first, then in name and brand, then others; with
    `group` `position`: the order of the variants."""
    limit: Limit = 20
    cursor: CursorText | None = None
    include_total: IncludeTotal = False


class FacetCount(Schema):
    """The number of products with one value."""

    value: str
    count: int


class OptionFacet(Schema):
    """The number of products with each value of an option."""

    name: str
    values: list[FacetCount]


class PriceBand(Schema):
    """The number of products of one currency that cost at least `min` and less than `max` minor units."""

    currency: str
    min: int
    max: int | None
    count: int


class Facets(Schema):
    """Counts of the products that match the filters: at most 100 values of each kind, and at most 100 pairs of an
    option and its value, most frequent first."""

    total: int
    categories: list[FacetCount]
    brands: list[FacetCount]
    tags: list[FacetCount]
    options: list[OptionFacet]
    price_bands: list[PriceBand]

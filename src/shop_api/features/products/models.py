"""Product models: request, stored document and response; filters, lists and facets."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from shop_api.kernel.messages import allowed
from shop_api.kernel.money import MAX_AMOUNT, Currency, Money
from shop_api.kernel.pagination import CursorText, IncludeTotal, Limit, Page
from shop_api.kernel.schema import Line, Patch, RequestBody, Schema, Slug, Text, Timestamp, Version, with_example

MAX_STOCK = 2**53 - 1  # the largest integer that every JSON reader holds exactly (RFC 7493 §2.2)


def _not_reserved(product_id: str) -> str:
    if product_id in {"facets", ".", ".."}:
        raise ValueError("This id is reserved")
    return product_id


_ID = allowed(r"^[A-Za-z0-9._-]+$", "Use letters A to Z and a to z, digits and . _ -")
ProductId = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=64,
        pattern=_ID,
    ),
    AfterValidator(_not_reserved),
    Field(description="1 to 64 of `A-Z a-z 0-9 . _ -`.", examples=["tea-assam-250"]),
]
Status = Literal["draft", "active", "archived"]
_HTTPS = allowed(
    r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-~]*)?$",
    "Give an https address, percent-encoded",
)
ImageUrl = Annotated[str, StringConstraints(max_length=2048, pattern=_HTTPS)]
# No dots, dollars or leading underscores, which have a meaning in MongoDB and in programming languages.
_NAME = allowed(
    r"^[^\s.$_\x00-\x1f\x7f][^.$\x00-\x1f\x7f]*$",
    "Use any characters but . $ and control characters for a name, and no space or _ at its beginning",
)
AttributeName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_NAME)]


def _one_of_them(value: object, check: ValidatorFunctionWrapHandler) -> object:
    try:
        return check(value)
    except ValidationError:
        message = "Give a text of at most 500 characters, a number, true or false"
        raise PydanticCustomError("attribute_value", message) from None


AttributeValue = Annotated[
    Annotated[Text, Field(strict=True, max_length=500)]
    | StrictBool
    | Annotated[StrictInt, Field(ge=-MAX_STOCK, le=MAX_STOCK)]
    | Annotated[float, Field(strict=True, allow_inf_nan=False)],
    WrapValidator(_one_of_them),
]
Tags = Annotated[list[Slug], Field(max_length=50), AfterValidator(lambda tags: list(dict.fromkeys(tags)))]
"""Tags without duplicates."""

_EXAMPLE: dict[str, Any] = {
    "product_id": "tea-assam-250",
    "name": "Assam tea, 250 g",
    "description": "Strong and malty.",
    "price": {"amount": 2500, "currency": "INR"},
    "stock": 40,
    "category": "tea",
    "brand": "Brew & Co",
    "tags": ["black-tea", "loose-leaf"],
    "images": ["https://images.example/tea-assam.jpg"],
    "attributes": {"weight_g": 250, "organic": True},
    "status": "active",
}


class _Fields(Schema):
    """The fields of a product that clients can set."""

    name: Line
    description: Annotated[Text, Field(max_length=10_000)] = ""
    price: Money
    stock: Annotated[int, Field(ge=0, le=MAX_STOCK)] = 0
    """Units on hand."""
    category: Slug | None = None
    brand: Line | None = None
    tags: Tags = []
    images: Annotated[list[ImageUrl], Field(max_length=20)] = []
    """HTTPS URLs, the main image first."""
    attributes: Annotated[dict[AttributeName, AttributeValue], Field(max_length=50)] = {}
    status: Status = "active"
    """Only `active` products are public."""


_SAID = set(_Fields.model_fields)


class ProductIn(_Fields, RequestBody):
    """A product to add, or the replacement of one. Absent members get their defaults."""

    product_id: ProductId | None = None
    """Generated if absent. In a replacement it must equal the id in the path, or be absent."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})


class MoneyPatch(Patch):
    """A change of price. Absent members stay."""

    amount: Annotated[int, Field(ge=0, le=MAX_AMOUNT)] = 0
    currency: Currency = ""


class ProductPatch(Patch):
    """Changes to a product, as a JSON Merge Patch (RFC 7396): absent members stay, null removes a value."""

    product_id: ProductId | None = None
    """Cannot change: must equal the id in the path, or be absent."""
    name: Line = ""
    description: Annotated[Text, Field(max_length=10_000)] | None = None
    price: MoneyPatch = MoneyPatch()
    stock: Annotated[int, Field(ge=0, le=MAX_STOCK)] = 0
    category: Slug | None = None
    brand: Line | None = None
    tags: Tags | None = None
    images: Annotated[list[ImageUrl], Field(max_length=20)] | None = None
    attributes: Annotated[dict[AttributeName, AttributeValue | None], Field(max_length=100)] | None = None
    """null as the value of an attribute removes the attribute."""
    status: Status = "active"

    model_config = ConfigDict(json_schema_extra=with_example({"price": {"amount": 2400}, "stock": 38}))


class _Identified(Schema):
    """Holds `product_id` in a base of its own, so that it is the first member of a response."""

    product_id: str


class ProductOut(_Fields, _Identified):
    """A product. Products stored under older rules may exceed today's limits."""

    name: str
    description: str
    stock: int
    category: str | None
    brand: str | None
    tags: list[str]
    images: list[str]
    attributes: dict[str, AttributeValue]
    status: Status
    version: Version
    created_at: Timestamp
    updated_at: Timestamp


class Product(ProductOut):
    """A product as stored. It has no fields beyond the response model; a field added here would not be stored."""

    @property
    def is_public(self) -> bool:
        return self.status == "active"

    def changed(self, new: ProductIn, now: datetime) -> "Product":
        """Return the next version, with all content replaced by `new`."""
        kept = {"product_id": self.product_id, "version": self.version + 1, "created_at": self.created_at}
        return Product.model_construct(**dict(new) | kept | {"updated_at": now})

    def content(self) -> dict[str, Any]:
        """Return the fields that clients can set, as plain values."""
        return self.model_dump(include=_SAID)

    def has_same_content(self, fields: dict[str, Any]) -> bool:
        """Return whether the content equals `fields`."""
        mine = self.content()
        # In Python 1 == True, but in JSON an attribute 1 differs from true.
        return mine == fields and all(
            isinstance(value, bool) == isinstance(fields["attributes"][name], bool)
            for name, value in mine["attributes"].items()
        )


class ProductPage(Page[ProductOut]):
    """A page of products in the requested order."""

    total: int | None = None
    """Number of matching products, only with `include_total=true`. The count stops at 10,000, which then means 10,000
    or more; null if counting takes longer than a second."""


ProductSort = Literal["newest", "price", "-price", "name", "-name", "relevance"]


class ProductFilter(BaseModel):
    """Filters of products."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    q: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    """Words that must all occur in name, brand, category or tags. The last one matches as a prefix."""
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
    """Default: `newest`, or `relevance` with `q`: matches in the name first, then in name and brand, then others."""
    limit: Limit = 20
    cursor: CursorText | None = None
    include_total: IncludeTotal = False


class FacetCount(Schema):
    """The number of products with one value."""

    value: str
    count: int


class PriceBand(Schema):
    """The number of products of one currency that cost at least `min` and less than `max` minor units."""

    currency: str
    min: int
    max: int | None
    count: int


class Facets(Schema):
    """Counts of the products that match the filters: at most 100 values of each kind, most frequent first."""

    total: int
    categories: list[FacetCount]
    brands: list[FacetCount]
    tags: list[FacetCount]
    price_bands: list[PriceBand]

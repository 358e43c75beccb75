"""Product models: request, stored document and response. `fields` has the types of their fields."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationInfo, WrapValidator, field_validator
from pydantic_core import PydanticCustomError

from shop_api.features.products.fields import (
    MAX_ATTRIBUTES,
    AttributeName,
    Attributes,
    AttributeValue,
    Description,
    Images,
    Options,
    Position,
    ProductId,
    Status,
    Stock,
    Tags,
    VariantOption,
    WeightInGrams,
    names_kept,
)
from shop_api.kernel.money import MAX_AMOUNT, Currency, Money
from shop_api.kernel.schema import Line, LongLine, Patch, RequestBody, Schema, Slug, Timestamp, Version, with_example

DEFAULTS: dict[str, Any] = {
    "sku": None,
    "barcode": None,
    "group": None,
    "options": [],
    "position": None,
    "compare_at_price": None,
    "tax_class": "standard",
    "weight_g": None,
    "requires_shipping": True,
}
"""Fields that most products do not use. With these values they are not stored: they cost nothing, and a sparse index
leaves them out."""
NOT_ABOVE_PRICE = "not_above_price"
"""The type of the error for a `compare_at_price` that is not above the price."""

_EXAMPLE: dict[str, Any] = {
    "product_id": "tea-assam-250",
    "sku": "TEA/ASSAM 250",
    "barcode": "4006381333931",
    "group": "assam-tea",
    "options": [{"name": "Weight", "value": "250 g"}],
    "position": 1,
    "name": "Assam tea, 250 g",
    "description": "Strong and malty.",
    "price": {"amount": 2500, "currency": "INR"},
    "compare_at_price": {"amount": 2900, "currency": "INR"},
    "tax_class": "standard",
    "weight_g": 260,
    "requires_shipping": True,
    "stock": 40,
    "category": "tea",
    "brand": "Brew & Co",
    "tags": ["black-tea", "loose-leaf"],
    "images": ["https://images.example/tea-assam.jpg"],
    "attributes": {"organic": True},
    "status": "active",
}


class _Fields(Schema):
    """The fields of a product that clients can set."""

    sku: LongLine | None = None
    """The stock keeping unit as the shop writes it. Not unique."""
    barcode: LongLine | None = None
    """GTIN, EAN, UPC or ISBN as the shop writes it. Not unique."""
    group: LongLine | None = None
    """What the variants of one article have in common, such as its handle. `GET /products?group=…` lists them."""
    options: Options = []
    """What distinguishes this variant from the others of its group, in the order in which a shop shows it."""
    position: Position | None = None
    """Place among the variants of the group, lowest first. Variants with the same position, or none, are ordered by
    creation."""
    name: LongLine
    description: Description = ""
    price: Money
    compare_at_price: Money | None = None
    """The price before a reduction: of the same currency as `price`, and above it."""
    tax_class: Slug = "standard"
    """Which tax rates apply."""
    weight_g: WeightInGrams | None = None
    """Weight for shipping, in grams."""
    requires_shipping: bool = True
    """`false` for what is not shipped, such as a download or a gift card."""
    stock: Stock = 0
    """Units on hand."""
    category: Slug | None = None
    brand: Line | None = None
    tags: Tags = []
    images: Images = []
    """HTTPS URLs, the main image first."""
    attributes: Attributes = {}
    status: Status = "active"
    """Only `active` products are public."""


_SAID = set(_Fields.model_fields)


class ProductIn(_Fields, RequestBody):
    """A product to add, or the replacement of one. Absent members get their defaults."""

    product_id: ProductId | None = None
    """Generated if absent. In a replacement it must equal the id in the path, or be absent."""

    @field_validator("compare_at_price")
    @classmethod
    def _above_price(cls, value: Money | None, info: ValidationInfo) -> Money | None:
        price = info.data.get("price")  # absent if it is not valid itself
        if value is not None and price is not None and not is_reduced(price, value):
            raise PydanticCustomError(NOT_ABOVE_PRICE, "Give an amount above the price, in the same currency")
        return value

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})


def is_reduced(price: Money, compare_at_price: Money) -> bool:
    """Return whether `compare_at_price` is valid for `price`."""
    return compare_at_price.currency == price.currency and compare_at_price.amount > price.amount


class MoneyPatch(Patch):
    """A change of price. Absent members stay."""

    amount: Annotated[int, Field(ge=0, le=MAX_AMOUNT)] = 0
    currency: Currency = ""


class ProductPatch(Patch):
    """Changes to a product, as a JSON Merge Patch (RFC 7396): absent members stay, null removes a value."""

    product_id: ProductId | None = None
    """Cannot change: must equal the id in the path, or be absent."""
    sku: LongLine | None = None
    barcode: LongLine | None = None
    group: LongLine | None = None
    options: Options | None = None
    position: Position | None = None
    name: LongLine = ""
    description: Description | None = None
    price: MoneyPatch = MoneyPatch()
    compare_at_price: MoneyPatch | None = None
    tax_class: Slug = "standard"
    weight_g: WeightInGrams | None = None
    requires_shipping: bool = True
    stock: Stock = 0
    category: Slug | None = None
    brand: Line | None = None
    tags: Tags | None = None
    images: Images | None = None
    attributes: (
        Annotated[
            dict[AttributeName, AttributeValue | None],
            Field(max_length=2 * MAX_ATTRIBUTES),
            WrapValidator(names_kept),
        ]
        | None
    ) = None
    """null as the value of an attribute removes the attribute."""
    status: Status = "active"

    model_config = ConfigDict(json_schema_extra=with_example({"price": {"amount": 2400}, "stock": 38}))


class _Identified(Schema):
    """Holds `product_id` in a base of its own, so that it is the first member of a response."""

    product_id: str


class ProductOut(_Fields, _Identified):
    """A product. Products stored under older rules may exceed today's limits."""

    sku: str | None
    barcode: str | None
    group: str | None
    options: list[VariantOption]
    position: int | None
    name: str
    description: str
    compare_at_price: Money | None
    tax_class: str
    weight_g: int | None
    requires_shipping: bool
    stock: int
    category: str | None
    brand: str | None
    tags: list[str]
    images: list[str]
    attributes: dict[str, str | bool | int | float]
    status: Status
    version: Version
    created_at: Timestamp
    updated_at: Timestamp


ProductView = dict[str, Any]
"""The fields of a ProductOut as plain values, in its order."""


class Product(ProductOut):
    """A product as stored. It has no fields beyond the response model; a field added here would not be stored."""

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "Product":
        """Return the product with these fields. Those of DEFAULTS may be absent."""
        return cls.model_validate({**DEFAULTS, **fields})

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

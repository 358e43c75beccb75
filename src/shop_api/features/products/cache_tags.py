"""Cache tags of responses about products."""

ONE = "product:{product_id}"
"""The response for one product. It does not carry ALL, or a change to any product would invalidate it."""
ALL = "products"
"""Lists and facets, which a change to any product may affect."""


def product_tags(product_id: str) -> tuple[str, str]:
    """Return the tags to invalidate when this product changes."""
    return ONE.format(product_id=product_id), ALL

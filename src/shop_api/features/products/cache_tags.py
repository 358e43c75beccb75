"""Under which tags the HTTP cache keeps answers about products."""

ONE = "product:{product_id}"
"""One product. Not also ALL, or a change of any product would be one of this."""
ALL = "products"
"""Lists and counts: a change of any product may change them."""


def product_tags(product_id: str) -> tuple[str, str]:
    """Those that a change of this product concerns."""
    return ONE.format(product_id=product_id), ALL

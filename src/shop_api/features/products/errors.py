"""The errors of products that a client can see."""

from shop_api.kernel.errors import Conflict, NotFound


class ProductNotFound(NotFound):
    """There is no product with this id, or it is not public."""

    status, code, title = 404, "product_not_found", "No such product"


class DuplicateProduct(Conflict):
    """There is already a product with this id; change it with PUT or PATCH."""

    code, title = "duplicate_product", "The product_id is taken"

"""Product errors that clients receive."""

from shop_api.kernel.errors import Conflict, NotFound


class ProductNotFound(NotFound):
    """No product has this id, or it is not public."""

    status, code, title = 404, "product_not_found", "No such product"


class DuplicateProduct(Conflict):
    """A product with this id already exists. Change it with PUT or PATCH."""

    code, title = "duplicate_product", "The product_id is taken"

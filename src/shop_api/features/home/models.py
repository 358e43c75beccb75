"""Models of the home page and the error pages."""

from typing import Literal

from shop_api.features.operations.models import State
from shop_api.kernel.schema import Schema


class Links(Schema):
    """Links to other resources."""

    docs: str
    openapi: str
    products: str


class Home(Schema):
    """Name, version, state and size of the service."""

    name: str
    version: str
    status: Literal["up", "degraded", "down"]
    """`degraded` without Redis: everything works, but slower. `down` without the database."""
    mongo: State
    redis: State
    products: int | None
    """Approximate number of products; null if the database does not respond."""
    users: int | None
    """Approximate number of users; null if the database does not respond."""
    links: Links


class ProblemKind(Schema):
    """The meaning of an error `code`."""

    code: str
    title: str
    status: int
    description: str

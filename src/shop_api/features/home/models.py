"""What the home page and the pages about errors tell."""

from typing import Literal

from shop_api.features.operations.models import State
from shop_api.kernel.schema import Schema


class Links(Schema):
    """Where to go next."""

    docs: str
    openapi: str
    products: str


class Home(Schema):
    """What this is and how it is."""

    name: str
    version: str
    status: Literal["up", "degraded", "down"]
    """`degraded` without the cache: all works, more slowly; `down` without the database."""
    mongo: State
    redis: State
    products: int | None
    """About how many there are; null if the database does not answer."""
    users: int | None
    """About how many there are; null if the database does not answer."""
    links: Links


class ProblemKind(Schema):
    """What one `code` means."""

    code: str
    title: str
    status: int
    description: str

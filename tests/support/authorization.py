"""What the routes themselves say about who may call them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from shop_api.http.dependencies import Requirement
from shop_api.kernel.permissions import Permission


class Required(NamedTuple):
    """An operation that needs a permission."""

    operation: str
    method: str
    path: str
    """As the route has it, with its parameters in braces."""
    permission: Permission


def required(app: FastAPI) -> list[Required]:
    """Return the operations of all features whose signatures name a permission."""
    found = []
    for route in iter_route_contexts(app.routes):
        dependant: Any = getattr(route, "dependant", None)
        for permission in _permissions(dependant) if dependant else ():
            assert route.name is not None
            assert route.path is not None
            for method in sorted(route.methods or ()):
                found.append(Required(route.name, method, route.path, permission))
    return found


def _permissions(dependant: Dependant) -> Iterator[Permission]:
    for below in dependant.dependencies:
        if isinstance(below.call, Requirement):
            yield below.call.permission
        yield from _permissions(below)

"""The home page and the pages about errors: for browsers and for programs."""

import asyncio
import re
import secrets
from collections.abc import Awaitable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response

from shop_api import __version__
from shop_api.features.home.pages import Page, wanted
from shop_api.features.operations import health
from shop_api.features.operations.health import State
from shop_api.http.dependencies import ShopDep
from shop_api.http.problems import problems
from shop_api.http.routing import StrictRoute
from shop_api.kernel.errors import NotFound, ShopError
from shop_api.kernel.schema import Schema
from shop_api.settings import Settings
from shop_api.storage.mongo.client import PyMongoError

router = APIRouter(tags=["Home"], route_class=StrictRoute)

_HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
_HOME, _PROBLEM = Page("home.html"), Page("problem.html")
_PATIENCE = 2
_HEALTH = {
    "up": "Healthy",
    "degraded": "Works, more slowly: the cache is down",
    "down": "Down: the database does not answer",
}
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?")


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


@router.get("/", response_model=Home, responses=problems() | _HTML)
async def get_home(request: Request, shop: ShopDep) -> Home | Response:
    """Says what this is, how it is and how much is in it: a page for browsers, JSON for programs."""
    (mongo, redis), products, users = await asyncio.gather(
        health.check(shop), _if_known(shop.products.size()), _if_known(shop.users.size())
    )
    home = Home(
        name="shop_api",
        version=__version__,
        status="down" if mongo == "down" else "degraded" if redis == "down" else "up",
        mongo=mongo,
        redis=redis,
        products=products,
        users=users,
        links=Links(docs="/docs", openapi="/openapi.json", products="/products"),
    )
    return _home_page(home, _address(request, shop.settings)) if wanted(request) else home


async def _if_known(count: Awaitable[int]) -> int | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await count
    except (PyMongoError, TimeoutError):
        return None


def _address(request: Request, settings: Settings) -> str:
    """As it is set, or this instance as the browser reached it. The line that somebody copies into a terminal must
    not be able to hold anything but an address, whatever the Host header does."""
    host = request.headers.get("host", "")
    if "public_url" in settings.model_fields_set or not _HOST.fullmatch(host):
        return settings.public_url.rstrip("/")
    return f"{request.scope['scheme']}://{host}"


def _home_page(home: Home, address: str) -> Response:
    links = {f"{name}_link": link for name, link in home.links.model_dump().items()}
    guest = {"guest": f"guest-{secrets.token_hex(4)}", "password": secrets.token_hex(8)}
    counts = {"products": _in_words(home.products), "users": _in_words(home.users)}
    shown = {"health": _HEALTH[home.status], "address": address}
    return _HOME.filled(home.model_dump(exclude={"links"}) | links | guest | counts | shown)


def _in_words(count: int | None) -> str:
    return "not known" if count is None else f"{count:,}"


@router.get("/problems/{code}", response_model=ProblemKind, responses=problems(NotFound) | _HTML)
async def get_problem(
    code: Annotated[str, Path(description="As an error names it.", examples=["version_conflict"])], request: Request
) -> ProblemKind | Response:
    """Explains a kind of error; the `type` of every error leads here."""
    # Looked up now, when all features are imported, and so all kinds are known.
    kind = next((kind for kind in ShopError.kinds() if kind.code == code), None)
    if kind is None:
        raise NotFound
    problem = ProblemKind(code=code, title=kind.title, status=kind.status, description=kind.description())
    return _PROBLEM.filled(problem.model_dump()) if wanted(request) else problem

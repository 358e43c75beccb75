"""The home page and the error pages, as HTML for browsers and JSON for other clients."""

import re
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from shop_api.features.home.dependencies import OverviewServiceDep, SettingsDep
from shop_api.features.home.models import Home, ProblemKind
from shop_api.features.home.pages import Page, accepts_html
from shop_api.http.problems import problems
from shop_api.http.routing import StrictRoute
from shop_api.kernel.errors import NotFound, ShopError
from shop_api.settings import Settings

router = APIRouter(tags=["Home"], route_class=StrictRoute)

_HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
_HOME, _PROBLEM = Page("home.html"), Page("problem.html")
_HEALTH = {
    "up": "Healthy",
    "degraded": "Works, more slowly: the cache is down",
    "down": "Down: the database does not answer",
}
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?")


@router.get("/", response_model=Home, responses=problems() | _HTML)
async def get_home(
    request: Request, overview: OverviewServiceDep, settings: SettingsDep, response: Response
) -> Home | Response:
    """Return name, version, state and size of the service: HTML for browsers, JSON for other clients."""
    response.headers["Vary"] = "Accept"
    home = await overview.get()
    return _home_page(home, _address(request, settings)) if accepts_html(request) else home


def _address(request: Request, settings: Settings) -> str:
    """Return the public URL if configured, else the URL that the browser used.

    The page shows it in a command to copy into a terminal, so a forged Host header must not inject anything else.
    """
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
    code: Annotated[str, Path(description="The `code` of an error.", examples=["version_conflict"])],
    request: Request,
    response: Response,
) -> ProblemKind | Response:
    """Explain an error code. The `type` of every error links here."""
    response.headers["Vary"] = "Accept"
    # Looked up per request: at import time not all features, and so not all errors, are loaded.
    kind = next((kind for kind in ShopError.kinds() if kind.code == code), None)
    if kind is None:
        raise NotFound
    problem = ProblemKind(code=code, title=kind.title, status=kind.status, description=kind.description())
    return _PROBLEM.filled(problem.model_dump()) if accepts_html(request) else problem

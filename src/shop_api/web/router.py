"""The home page, the pages about errors, and Swagger UI from assets in the installed package."""

import inspect
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from shop_api import __version__, health
from shop_api.dependencies import ShopDep
from shop_api.errors import NotFound, ShopError
from shop_api.health import State
from shop_api.problems import problems
from shop_api.routing import StrictRoute
from shop_api.schema import Schema

router = APIRouter(tags=["Home"], route_class=StrictRoute)

_HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
_HOME = Template(files(__package__).joinpath("home.html").read_text("utf-8"))
_PROBLEM = Template(files(__package__).joinpath("problem.html").read_text("utf-8"))
_KINDS = {kind.code: kind for kind in ShopError.kinds()}


class Links(Schema):
    """Where to go next."""

    docs: str
    openapi: str
    products: str


class Home(Schema):
    """What this is and how it is."""

    name: str
    version: str
    mongo: State
    redis: State
    links: Links


class ProblemKind(Schema):
    """What one `code` means."""

    code: str
    title: str
    status: int
    description: str


@router.get("/", response_model=Home, responses=problems() | _HTML)
async def get_home(request: Request, shop: ShopDep) -> Home | Response:
    """Says what this is, in which version and how it is: a page for browsers, JSON for programs."""
    state = await health.check(shop)
    links = Links(docs="/docs", openapi="/openapi.json", products="/products")
    home = Home(name="shop_api", version=__version__, mongo=state.mongo, redis=state.redis, links=links)
    return _page(_HOME, home) if _wants_html(request) else home


@router.get("/problems/{code}", response_model=ProblemKind, responses=problems(NotFound) | _HTML)
async def get_problem(code: str, request: Request) -> ProblemKind | Response:
    """Explains a kind of error; the `type` of every error leads here."""
    kind = _KINDS.get(code)
    if kind is None:
        raise NotFound
    description = " ".join((inspect.getdoc(kind) or kind.title).split())
    problem = ProblemKind(code=code, title=kind.title, status=kind.status, description=description)
    return _page(_PROBLEM, problem) if _wants_html(request) else problem


def _wants_html(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _page(template: Template, content: Home | ProblemKind) -> HTMLResponse:
    values = {name: escape(str(value)) for name, value in content.model_dump().items()}
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "Vary": "Accept"}
    return HTMLResponse(template.substitute(values), headers=headers)


def mount_swagger_ui(app: FastAPI) -> None:
    """Serves /docs. Its addresses are relative, so that it works behind any proxy."""

    @app.get("/docs", include_in_schema=False)
    async def swagger_ui() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="shop_api",
            swagger_js_url="docs/assets/swagger-ui-bundle.js",
            swagger_css_url="docs/assets/swagger-ui.css",
            swagger_favicon_url="docs/assets/favicon-32x32.png",
            swagger_ui_parameters={"persistAuthorization": False, "displayRequestDuration": True},
        )

    assets = StaticFiles(packages=[("fastapi_swagger", "resources")])
    app.mount("/docs/assets", assets, name="swagger_ui_assets")

"""The whole wiring: what the service consists of, and in which order."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from shop_api import __version__, openapi
from shop_api.auth.router import router as auth
from shop_api.dependencies import open_shop
from shop_api.health import router as health
from shop_api.http_cache.follower import following
from shop_api.http_cache.marking import cacheable_routes
from shop_api.http_cache.middleware import CacheFirst
from shop_api.middleware import BodyLimit, Cors, HeadAsGet, NotModified, RequestContext
from shop_api.problems import add_problem_handlers
from shop_api.products.cache_tags import product_tags
from shop_api.products.router import router as products
from shop_api.settings import Settings
from shop_api.users.models import Registration
from shop_api.users.router import router as users
from shop_api.web.router import mount_swagger_ui
from shop_api.web.router import router as web

log = structlog.get_logger()


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application. Nothing is opened before its lifespan starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_shop(settings) as shop:
            if settings.admin_username and settings.admin_password:
                first = Registration(username=settings.admin_username, password=settings.admin_password)
                if await shop.users.ensure_admin(first):
                    log.info("made the first admin", username=first.username)
            app.state.shop = shop
            async with AsyncExitStack() as stack:
                if settings.cache == "on":
                    await stack.enter_async_context(following(shop.cache, shop.database["products"], product_tags))
                yield

    app = FastAPI(
        title="shop_api",
        summary="Users, sign-in and products over REST.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # served by web/ without a CDN
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # asks the environment at every request
        generate_unique_id_function=lambda route: route.name,
    )
    for router in (products, users, auth, web, health):  # tried in this order: what is asked for most comes first
        app.include_router(router)
    mount_swagger_ui(app)
    openapi.describe(app)
    add_problem_handlers(app)

    # The last one added is the outermost.
    app.add_middleware(NotModified)
    app.add_middleware(HeadAsGet)
    app.add_middleware(BodyLimit)
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies)
    app.middleware_stack = _outside(app, settings)
    return app


def _outside(app: FastAPI, settings: Settings) -> ASGIApp:
    """The layers that a hit of the cache goes through. They lie around the framework's own, which would cost it more
    than it costs itself."""
    stack, in_memory = app.build_middleware_stack(), None
    if settings.cache == "on":
        stack = cache = CacheFirst(stack, list(cacheable_routes(app.routes)))
        in_memory = cache.in_memory
    if settings.cors_origins:
        stack = Cors(stack, settings.cors_origins)
    return RequestContext(stack, settings.log_hits_every, in_memory)

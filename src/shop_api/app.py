"""The service as an ASGI application."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp

from shop_api import __version__
from shop_api.audit.models import AUDIT_ACTIONS, AUDIT_SUBJECTS, AuditContext
from shop_api.cache.follower import following
from shop_api.cache.marking import cacheable_routes
from shop_api.cache.middleware import CacheAccess, CacheMiddleware
from shop_api.container import open_services
from shop_api.features import FEATURES
from shop_api.features.auth.export import export_models
from shop_api.features.feature import (
    Feature,
    audit_actions_of,
    audit_subjects_of,
    cache_tags_of,
    collections_of,
    models_of,
    routers_of,
    schema_of,
    tags_of,
)
from shop_api.features.users.models import Registration
from shop_api.http import openapi
from shop_api.http.draining import Draining
from shop_api.http.problems import add_problem_handlers
from shop_api.http.request_context import RequestContextMiddleware
from shop_api.http.stack import middleware_stack
from shop_api.kernel.clock import Clock, utc_now
from shop_api.observability.metrics import Metrics
from shop_api.settings import Settings
from shop_api.storage.mongo.migrations import migrating_in_background

log = structlog.get_logger()


def create_app(settings: Settings, features: Sequence[Feature] = FEATURES, clock: Clock = utc_now) -> FastAPI:
    """Return the application with these features. Its lifespan opens all connections."""
    metrics, draining, tracing = Metrics(), Draining(), None
    cache = CacheAccess() if settings.cache == "on" else None
    if settings.otlp_endpoint:
        from shop_api.observability.spans import Tracing

        tracing = Tracing(settings)
        metrics.mongo.trace = metrics.redis.trace = tracing.call

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if tracing:
                await stack.enter_async_context(tracing.exported())
            await stack.enter_async_context(metrics.event_loop.measured())
            services = await stack.enter_async_context(
                open_services(settings, clock, features=features, metrics=metrics)
            )
            database, instance_id = services.database, services.instance_id
            await stack.enter_async_context(services.heartbeat.kept())
            await stack.enter_async_context(migrating_in_background(database, schema_of(features), instance_id))
            if settings.admin_username and settings.admin_password:
                first = Registration(username=settings.admin_username, password=settings.admin_password)
                if await services.users.ensure_admin(first, AuditContext.of_process("startup")):
                    log.info("made the first admin", username=first.username)
            app.state.services = services
            if cache:
                cache.open(services.cache, services.auth.is_genuine)
                await stack.enter_async_context(following(services.cache, database, cache_tags_of(features)))
            await stack.enter_async_context(services.import_runner.running())
            yield

    app = FastAPI(
        title="shop_api",
        summary="Users, sign-in and products over REST.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # served by features/home without a CDN
        redoc_url=None,
        redirect_slashes=False,
        # Without explicit values, FastAPI reads the environment on every request.
        telemetry=tracing.of_framework if tracing else {"tracing": False, "metrics": False, "logs": False},
    )
    app.state.draining, app.state.features = draining, features
    for router in routers_of(features):
        # The routes themselves: include_router wraps them, and would match each request twice.
        app.router.routes.extend(router.routes)
    tags = [tag._asdict() for tag in tags_of(features)]
    models = [*models_of(features), *export_models(collections_of(features))]
    audited = {AUDIT_ACTIONS: audit_actions_of(features), AUDIT_SUBJECTS: audit_subjects_of(features)}
    openapi.describe(app, tags, models, audited)
    add_problem_handlers(app)

    def context(inner: ASGIApp) -> ASGIApp:
        in_memory = cache.in_memory if cache else None
        every = settings.log_hits_every
        return RequestContextMiddleware(
            inner,
            metrics.requests,
            draining,
            log_every=every,
            in_memory=in_memory,
            tracing=tracing,
            varies=bool(settings.cors_origins),
        )

    def cached(inner: ASGIApp, origin: ASGIApp) -> ASGIApp:
        return CacheMiddleware(inner, origin, list(cacheable_routes(app.routes)), cache) if cache else inner

    app.middleware_stack = middleware_stack(app, settings, context, cached)
    return app

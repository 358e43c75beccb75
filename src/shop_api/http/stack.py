"""The middleware stack around the router, as one list, outermost first."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from shop_api.http.bodies import RequestBodyMiddleware, body_limits
from shop_api.http.middleware import (
    ConcurrencyLimitMiddleware,
    CorsMiddleware,
    HeadMiddleware,
    NotModifiedMiddleware,
    UnroutedMiddleware,
)
from shop_api.settings import Settings

Layer = Callable[[ASGIApp], ASGIApp]


def middleware_stack(
    app: FastAPI, settings: Settings, context: Layer, cache: Callable[[ASGIApp, ASGIApp], ASGIApp]
) -> ASGIApp:
    """Return the router of `app` inside all layers. `context` adds the request id, the log line and the metrics;
    `cache` is the HTTP cache, which forwards requests to its first argument and makes the responses that it stores
    with the second."""
    # Inside the cache, so that hits and requests that wait for another request's fill do not occupy a slot.
    origin = ConcurrencyLimitMiddleware(_routed(app, settings), settings.max_requests)
    layers: Sequence[Layer | None] = (
        # Outermost, so that every response has a request id, a log line and metrics. This layer
        # sends memory hits itself, on behalf of the cache.
        context,
        # Outside the cache, so that cached responses carry CORS headers too.
        (lambda inner: CorsMiddleware(inner, settings.cors_origins)) if settings.cors_origins else None,
        # Outside the cache, so that a cached response is never sent for a request that must be rejected.
        UnroutedMiddleware,
        # Outside all layers that do expensive work, because a hit needs none of it.
        # Responses for everyone are made without the layers inside, which handle what clients send.
        lambda inner: cache(inner, origin),
        # Outside the concurrency limit, so that a client whose body never arrives does not occupy a slot. Inside the
        # cache, which needs no body.
        lambda inner: RequestBodyMiddleware(inner, list(body_limits(app.routes))),
        # Outside all code that reads the client's address.
        cast(Layer, partial(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies)),  # its types differ
        # Outside NotModifiedMiddleware, which only handles GET, so that HEAD also gets a 304.
        HeadMiddleware,
        # Innermost, because it reads the ETag that the route sets.
        NotModifiedMiddleware,
    )
    stack: ASGIApp = origin
    for layer in reversed(layers):
        stack = layer(stack) if layer else stack
    return stack


def _routed(app: FastAPI, settings: Settings) -> ASGIApp:
    """Return the router inside those of the framework's own layers that have something to do."""
    if settings.otlp_endpoint:
        return app.build_middleware_stack()  # one of them adds exceptions to traces
    # RequestContextMiddleware handles the others.
    handlers = {kind: handler for kind, handler in app.exception_handlers.items() if kind is not Exception}
    return ExceptionMiddleware(AsyncExitStackMiddleware(app.router), handlers)

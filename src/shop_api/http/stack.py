"""The layers around the router, in one list."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from fastapi import FastAPI
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


def middleware_stack(app: FastAPI, settings: Settings, context: Layer, cache: Layer) -> ASGIApp:
    """Return the router of `app` with all layers around it. `context` gives a request its id, log line and figures;
    `cache` is the HTTP cache."""
    layers: Sequence[Layer | None] = (
        # Outermost, so that every answer has an id, a log line and figures, wherever it comes from.
        context,
        # Around the cache: a page may read an answer from it as it may read any other.
        (lambda inner: CorsMiddleware(inner, settings.cors_origins)) if settings.cors_origins else None,
        # Before the router, and before a hit could answer what has to be refused.
        UnroutedMiddleware,
        # Before anything that costs: a hit is cheaper than the layers below.
        cache,
        # Before places are taken, so that no client holds one with a body that never arrives. Behind the cache, which
        # reads no body.
        lambda inner: RequestBodyMiddleware(inner, list(body_limits(app.routes))),
        # Behind the cache, since a hit and those who wait for the same fill take no place.
        lambda inner: ConcurrencyLimitMiddleware(inner, settings.max_requests),
        # Before whatever looks at the client's address.
        cast(Layer, partial(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies)),  # with types of its own
        # Around NotModified, which answers GET.
        HeadMiddleware,
        # Innermost: it needs the ETag that the route has set.
        NotModifiedMiddleware,
    )
    stack = app.build_middleware_stack()  # the framework's own: an error becomes a problem
    for layer in reversed(layers):
        stack = layer(stack) if layer else stack
    return stack

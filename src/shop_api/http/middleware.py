"""Middleware that applies to every route, as plain ASGI. stack.py orders it."""

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop_api.http.etags import joined, none_match
from shop_api.http.problems import problem_response
from shop_api.http.request_state import REFUSAL, request_state
from shop_api.kernel.errors import Overloaded, PreflightRefused, ShopError

_ALWAYS = frozenset({"/health/live", "/health/ready", "/metrics"})
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_EXPOSED = "Age, Cache-Status, ETag, Idempotent-Replayed, Location, Retry-After, X-Request-ID"


class CorsMiddleware:
    """Lets web pages from `origins` call the API (Fetch §3.2). Requests from other origins pass through unchanged:
    they get no CORS headers, and their preflights are handled as ordinary OPTIONS requests. RequestContextMiddleware
    adds `Vary: Origin` to every response."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self.app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin")
        if origin is None or origin not in self._origins:
            return await self.app(scope, receive, send)

        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                allowed = MutableHeaders(scope=message)
                allowed["Access-Control-Allow-Origin"] = origin
                allowed["Access-Control-Expose-Headers"] = _EXPOSED
            await send(message)

        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            return await _preflight(headers, scope)(scope, receive, send_allowed)
        return await self.app(scope, receive, send_allowed)


def _preflight(headers: Headers, scope: Scope) -> Response:
    method = headers["access-control-request-method"]
    if method not in METHODS:
        return problem_response(PreflightRefused(f"The allowed methods are {', '.join(METHODS)}."), scope)
    if "access-control-request-private-network" in headers:
        return problem_response(PreflightRefused("A page from a public network may not call a private one."), scope)
    allowed = {
        "Access-Control-Allow-Methods": ", ".join(METHODS),
        "Access-Control-Max-Age": "600",
        "Vary": "Access-Control-Request-Method, Access-Control-Request-Headers",
    }
    if requested := headers.get("access-control-request-headers"):
        # Any header is allowed: the only credential is a token, which a browser, unlike a cookie, never adds itself.
        allowed["Access-Control-Allow-Headers"] = requested
    return Response(status_code=200, headers=allowed)


class UnroutedMiddleware:
    """Handles requests that never reach a route: those the protocol rejected, and `OPTIONS *` (RFC 9110 §9.3.7)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal: ShopError | None = scope.get(REFUSAL)
        if refusal is not None:
            return await problem_response(refusal, scope)(scope, receive, send)
        if scope.get("path") == "*":
            return await Response(status_code=204, headers={"Allow": ", ".join(METHODS)})(scope, receive, send)
        return await self.app(scope, receive, send)


class ConcurrencyLimitMiddleware:
    """Rejects requests immediately once `limit` are in flight (load shedding). Queueing them would only make all of
    them miss their deadline. Health checks and metrics are exempt, so that a busy instance is not restarted."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self._limit = limit
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _ALWAYS:
            return await self.app(scope, receive, send)
        if self._inside >= self._limit:
            request_state(scope).overloaded = True
            return await problem_response(Overloaded(retry_after=1), scope)(scope, receive, send)
        self._inside += 1
        try:
            return await self.app(scope, receive, send)
        finally:
            self._inside -= 1


class HeadMiddleware:
    """Handles HEAD as GET and drops the body (RFC 9110 §9.3.2), so that routes define only GET."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # A copy, because the server frames the response by the method in its own scope.
        as_get = {**scope, "method": "GET"}
        try:
            await self.app(as_get, receive, send_without_body)
        finally:
            scope["route"] = as_get.get("route")


class NotModifiedMiddleware:
    """Replaces a 200 to GET with 304 if `If-None-Match` matches the ETag that the route set (RFC 9110 §13.1.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        known = joined(Headers(scope=scope), "if-none-match")
        not_modified = False

        async def send_if_modified(message: Message) -> None:
            nonlocal not_modified
            if message["type"] == "http.response.start" and message["status"] == 200:
                headers = MutableHeaders(scope=message)
                not_modified = "ETag" in headers and none_match(known, headers["ETag"])
                if not_modified:
                    message["status"] = 304
                    del headers["Content-Length"], headers["Content-Type"]
            elif message["type"] == "http.response.body" and not_modified:
                message = {**message, "body": b""}
            await send(message)

        await self.app(scope, receive, send_if_modified)

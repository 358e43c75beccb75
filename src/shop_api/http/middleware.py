"""What happens around every request, whatever it asks for: plain ASGI, put together in stack.py."""

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
    """Lets pages from `origins` call the API (Fetch §3.2). For all others it is as if it were not there: no header
    that allows anything, and a preflight is answered like any other request that no route takes. That answers differ
    by Origin is said of all of them, in RequestContextMiddleware."""

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
        return problem_response(PreflightRefused(f"Pages may use {', '.join(METHODS)}."), scope)
    if "access-control-request-private-network" in headers:
        return problem_response(PreflightRefused("Pages of a public network may not call a private one."), scope)
    allowed = {
        "Access-Control-Allow-Methods": ", ".join(METHODS),
        "Access-Control-Max-Age": "600",
        "Vary": "Access-Control-Request-Method, Access-Control-Request-Headers",
    }
    if requested := headers.get("access-control-request-headers"):
        # Any: a token is the only credential, and it is no cookie that a page could abuse.
        allowed["Access-Control-Allow-Headers"] = requested
    return Response(status_code=200, headers=allowed)


class UnroutedMiddleware:
    """Answers what no route could: requests that the protocol refuses, and `OPTIONS *` (RFC 9110 §9.3.7)."""

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
    """Refuses a request at once when `limit` are being carried out: waiting in line behind them, all would come too
    late. Health checks always get in, or an instance would be restarted because it is busy."""

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
    """Answers HEAD as GET without the body (RFC 9110 §9.3.2), so that no route has to."""

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

        # A copy, since the server frames its answer by the method in the scope that it gave.
        as_get = {**scope, "method": "GET"}
        try:
            await self.app(as_get, receive, send_without_body)
        finally:
            scope["route"] = as_get.get("route")


class NotModifiedMiddleware:
    """Answers GET with 304 when the client already holds what it would get, by the ETag that the route has set."""

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

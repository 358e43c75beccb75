"""What happens around every request, whatever it asks for: plain ASGI, outermost first as app.py adds it."""

import re
import time
from collections.abc import Callable, Sequence

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

from shop_api.errors import BodyTooLarge, InternalError
from shop_api.etags import none_match
from shop_api.http_cache.answer import Hit
from shop_api.observability.logging import current_request_id
from shop_api.problems import problem_response

MAX_BODY_BYTES = 1024 * 1024
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_SANE_ID = re.compile(r"[A-Za-z0-9._:/=+-]{1,128}")
log = structlog.get_logger()


class RequestContext:
    """Gives every request an id, every answer its security headers, and the log one line for it; an error nobody
    expected becomes a 500 whose cause is only in the log.

    What `in_memory` has for a request is sent from here. Of such hits one in `log_hits_every` is logged.
    """

    def __init__(
        self, app: ASGIApp, log_hits_every: int = 1, in_memory: Callable[[Scope], Hit | None] | None = None
    ) -> None:
        self.app = app
        self._every = log_hits_every
        self._in_memory = in_memory or (lambda _: None)
        self._hits = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id = _request_id(scope)
        own = [(b"x-request-id", request_id.encode()), _NO_SNIFFING]
        started = time.perf_counter()
        hit = self._in_memory(scope)
        if hit is not None:
            await send({"type": "http.response.start", "status": hit.status, "headers": [*hit.headers, *own]})
            await send({"type": "http.response.body", "body": hit.body})
            self._hits += 1
            if self._hits % self._every == 0:
                current_request_id.set(request_id)
                scope["route"] = hit.route
                _log_request(scope, hit.status, started, "hit")
            return None
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        current_request_id.set(request_id)
        status, complete = 0, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *own]
            else:
                complete = not message.get("more_body", False)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            log.exception("unexpected error")
            if status == 0:
                await problem_response(InternalError(), scope)(scope, receive, send_with_headers)
            elif not complete:
                raise  # too late for another answer: the server has to cut the connection
        finally:
            _log_request(scope, status, started, state.get("cache"))
        return None


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given: str = value.decode("latin-1")
            return given if _SANE_ID.fullmatch(given) else str(uuid7())
    return str(uuid7())


def _log_request(scope: Scope, status: int, started: float, cache: str | None) -> None:
    log.info(
        "request",
        method=scope["method"],
        route=getattr(scope.get("route"), "path", None),
        status=status,
        cache=cache,
        ms=round((time.perf_counter() - started) * 1000, 2),
    )


_EXPOSED = ["Age", "Cache-Status", "ETag", "Idempotent-Replayed", "Location", "Retry-After", "X-Request-ID"]


class Cors(CORSMiddleware):
    """Lets pages from `origins` call the API. For all others it is as if it were not there: no header that allows
    anything, and a preflight is answered like any other request that no route takes."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["*"],  # a token is the only credential, and it is no cookie that a page could abuse
            expose_headers=_EXPOSED,
            max_age=600,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers(scope=scope).get("origin") if scope["type"] == "http" else None
        if origin is not None and self.is_allowed_origin(origin):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class BodyLimit:
    """Refuses bodies over 1 MiB without holding them: by their announced length, else as soon as they exceed it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES:
            return await problem_response(BodyTooLarge(), scope)(scope, receive, send)
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise BodyTooLarge
            return message

        return await self.app(scope, counted, send)


class HeadAsGet:
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


class NotModified:
    """Answers GET with 304 when the client already holds what it would get, by the ETag that the route has set."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        known = Headers(scope=scope).get("if-none-match")
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

"""The outermost layer: request id, log line and metrics of every request."""

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

from shop_api.http.draining import Draining
from shop_api.http.hit import Headers, Hit
from shop_api.http.problems import problem_response
from shop_api.http.request_state import REFUSAL, request_state
from shop_api.kernel.errors import InternalError
from shop_api.observability.logging import current_request_id
from shop_api.observability.requests import CLIENT_LEFT, Requests

if TYPE_CHECKING:
    from shop_api.observability.spans import Tracing

_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_VARY = (b"vary", b"Origin")
_CLOSE = (b"connection", b"close")
_SANE_ID = re.compile(r"[A-Za-z0-9._:/=+-]{1,128}")
# Polled constantly by machines. Successful polls are logged only every `log_every` times.
_ROUTINE = frozenset({"/health/live", "/health/ready", "/metrics"})
log = structlog.get_logger()


class RequestContextMiddleware:
    """Gives every request an id, a log line and metrics, and every response its security headers. Turns an unexpected
    error into a 500 whose cause appears only in the log.

    If `in_memory` returns a hit for a request, this layer sends it without running the others. Of memory hits,
    successful health checks and requests rejected as overload, one in `log_every` is logged. `varies` adds
    `Vary: Origin` to every response.
    """

    def __init__(
        self,
        app: ASGIApp,
        requests: Requests,
        draining: Draining,
        *,
        log_every: int = 1,
        in_memory: Callable[[Scope], Hit | None] | None = None,
        tracing: "Tracing | None" = None,
        varies: bool = False,
    ) -> None:
        self.app = app
        self._requests = requests
        self._draining = draining
        self._every = log_every
        self._in_memory = in_memory or (lambda _: None)
        self._tracing = tracing
        self._always = (_NO_SNIFFING, _VARY) if varies else (_NO_SNIFFING,)
        self._hits = self._checks = self._refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id = _request_id(scope)
        own = [(b"x-request-id", request_id.encode()), *self._always]
        started = time.perf_counter()
        hit = None if REFUSAL in scope else self._in_memory(scope)
        if hit is not None:
            return await self._send(hit, scope, send, own, request_id, started)
        state = request_state(scope)
        state.request_id = request_id
        current_request_id.set(request_id)
        status, size, complete = 0, 0, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, size, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._draining.begun:  # checked now, because draining may have begun after the request
                    own.append(_CLOSE)
                message["headers"] = [*message["headers"], *own]
                if self._tracing:
                    self._tracing.request(scope, request_id, state.cache)
            else:
                size += len(message.get("body", b""))
                complete = not message.get("more_body", False)
            await send(message)

        self._requests.in_flight += 1
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            self._requests.unexpected_errors += 1
            log.exception("unexpected error")
            if status == 0:
                await problem_response(InternalError(), scope)(scope, receive, send_with_headers)
            elif not complete:
                raise  # the response has started, so the server can only close the connection
        finally:
            self._requests.in_flight -= 1
            if state.client_left and status == 0:
                status = CLIENT_LEFT
            # Excludes the arrival of the body, so that slow clients do not make the service look slow.
            seconds = time.perf_counter() - max(started, state.body_arrived)
            self._requests.add(_template(scope), scope["method"], status, seconds, size)
            if self._is_worth_a_line(scope, status):
                _log(scope, status, seconds, size, state.cache, state.user_id)
        return None

    async def _send(self, hit: Hit, scope: Scope, send: Send, own: Headers, request_id: str, started: float) -> None:
        scope["route"] = hit.route
        if self._draining.begun:
            own.append(_CLOSE)
        if self._tracing:
            self._tracing.request(scope, request_id, "hit")
        await send({"type": "http.response.start", "status": hit.status, "headers": [*hit.headers, *own]})
        await send({"type": "http.response.body", "body": hit.body})
        seconds, size = time.perf_counter() - started, len(hit.body)
        self._requests.add(_template(scope), scope["method"], hit.status, seconds, size)
        self._hits += 1
        if self._hits % self._every == 0:
            current_request_id.set(request_id)
            _log(scope, hit.status, seconds, size, "hit", None)

    def _is_worth_a_line(self, scope: Scope, status: int) -> bool:
        if request_state(scope).overloaded:
            before, self._refused = self._refused, self._refused + 1
            return before % self._every == 0
        if status != 200 or _template(scope) not in _ROUTINE:
            return True
        self._checks += 1
        return self._checks % self._every == 0


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            request_id: str = value.decode("latin-1")
            return request_id if _SANE_ID.fullmatch(request_id) else str(uuid7())
    return str(uuid7())


def _template(scope: Scope) -> str | None:
    """Return the path template of the route. Paths may contain personal data and are unbounded in number."""
    return getattr(scope.get("route"), "path", None)


def _log(scope: Scope, status: int, seconds: float, size: int, cache: str | None, user_id: str | None) -> None:
    log.info(
        "request",
        method=scope["method"],
        route=_template(scope),
        status=status,
        ms=round(seconds * 1000, 2),
        bytes=size,
        cache=cache,
        user_id=user_id,
    )

"""Reads request bodies in full, within size and time limits, before the concurrency limit applies."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop_api.http.problems import problem_response
from shop_api.http.request_state import REFUSAL, request_state
from shop_api.kernel.errors import BodyTooLarge, Overloaded, RequestTimeout, ShopError

MAX_BYTES = 16 * 1024
"""Body size limit of routes without `body_limit`."""
ARRIVAL_SECONDS = 10.0
MIN_BYTES_PER_SECOND = 16 * 1024
"""A body must arrive within ARRIVAL_SECONDS plus the time that the bytes received so far take at this rate."""
MAX_BUFFERED_BYTES = 64 * 1024 * 1024
"""Limit on the total size of all bodies that this process holds at the same time."""

F = TypeVar("F", bound=Callable[..., Any])


def body_limit(max_bytes: int) -> Callable[[F], F]:
    """Decorate a route handler to accept bodies of up to `max_bytes` instead of MAX_BYTES."""

    def mark(handler: F) -> F:
        handler.max_body_bytes = max_bytes  # type: ignore[attr-defined]
        return handler

    return mark


def streamed_body(max_bytes: int) -> Callable[[F], F]:
    """Decorate a route handler that reads its body of up to `max_bytes` itself, as it arrives, so that the caller is
    checked before the body is read. Reading raises BodyTooLarge and RequestTimeout."""

    def mark(handler: F) -> F:
        handler.streams_body = True  # type: ignore[attr-defined]
        return body_limit(max_bytes)(handler)

    return mark


class BodyLimit(NamedTuple):
    """The body size limit of a route."""

    methods: frozenset[str]
    pattern: re.Pattern[str]
    max_bytes: int
    is_streamed: bool = False


def body_limits(routes: Sequence[BaseRoute]) -> Iterator[BodyLimit]:
    """Yield the limits of all routes decorated with `body_limit`."""
    for route in iter_route_contexts(routes):
        max_bytes = getattr(route.endpoint, "max_body_bytes", None)
        if max_bytes and route.path:
            is_streamed = getattr(route.endpoint, "streams_body", False)
            yield BodyLimit(frozenset(route.methods or ()), compile_path(route.path)[0], max_bytes, is_streamed)


_DEFAULT_LIMIT = BodyLimit(frozenset(), re.compile(""), MAX_BYTES)


class RequestBodyMiddleware:
    """Reads the whole body, so that the inner layers never wait for a client, unless the route streams it. Rejects
    bodies that are too large, arrive too slowly, or exceed MAX_BUFFERED_BYTES together with others. Sends nothing to
    a disconnected client."""

    def __init__(self, app: ASGIApp, limits: Sequence[BodyLimit]) -> None:
        self.app = app
        self._limits = limits
        self._buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(headers := Headers(scope=scope)):
            return await self.app(scope, receive, send)
        limit = self._limit_of(scope)
        reading = _Reading(limit.max_bytes, scope, receive)
        try:
            _check_length(headers, limit.max_bytes)
            if limit.is_streamed:
                return await self.app(scope, _Streamed(reading, scope, receive), send)
            body = await self._read(reading)
        except ShopError as error:
            return await problem_response(error, scope)(scope, receive, send)
        finally:
            self._buffered -= sum(map(len, reading.parts))
        state = request_state(scope)
        if body is None:
            state.client_left = True
            return None
        state.body_arrived = time.perf_counter()
        return await self.app(scope, _replayed(body, receive), send)

    def _limit_of(self, scope: Scope) -> BodyLimit:
        for limit in self._limits:
            if scope["method"] in limit.methods and limit.pattern.match(scope["path"]):
                return limit
        return _DEFAULT_LIMIT

    async def _read(self, reading: "_Reading") -> bytes | None:
        """Return the body, or None if the client disconnected."""
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS) as deadline:
                return await self._read_all(reading, deadline)
        except TimeoutError:
            raise RequestTimeout from None

    async def _read_all(self, reading: "_Reading", deadline: asyncio.Timeout) -> bytes | None:
        latest = deadline.when() or 0.0
        while await reading.next():
            self._buffered += len(reading.parts[-1])
            if self._buffered > MAX_BUFFERED_BYTES:
                raise Overloaded(retry_after=1)
            deadline.reschedule(latest + reading.received / MIN_BYTES_PER_SECOND)
        return None if reading.client_left else b"".join(reading.parts)


class _Reading:
    """A body that is being received."""

    def __init__(self, max_bytes: int, scope: Scope, receive: Receive) -> None:
        self.max_bytes = max_bytes
        self.received = 0
        self.parts: list[bytes] = []
        self.client_left = False
        self._scope = scope
        self._receive = receive
        self.complete = False

    async def next(self) -> bool:
        """Wait for the next part. Return False if the body is complete or the client disconnected."""
        if self.complete:
            return False
        message = await self._receive()
        if REFUSAL in self._scope:  # set by the protocol while the body was arriving
            raise self._scope[REFUSAL]
        if message["type"] == "http.disconnect":
            self.client_left = True
            return False
        part: bytes = message.get("body", b"")
        if self.received + len(part) > self.max_bytes:
            raise BodyTooLarge(self.max_bytes)
        self.received += len(part)
        self.parts.append(part)
        self.complete = not message.get("more_body", False)
        return True


class _Streamed:
    """The `receive` of a handler that reads its body itself."""

    def __init__(self, reading: _Reading, scope: Scope, receive: Receive) -> None:
        self._reading = reading
        self._state = request_state(scope)
        self._receive = receive
        self._waited = 0.0

    async def __call__(self) -> Message:
        if self._reading.complete:
            return await self._receive()
        await self._wait()
        if self._reading.client_left:
            self._state.client_left = True
            return {"type": "http.disconnect"}
        if self._reading.complete:
            self._state.body_arrived = time.perf_counter()
        return {"type": "http.request", "body": self._reading.parts.pop(), "more_body": not self._reading.complete}

    async def _wait(self) -> None:
        """Wait for the next part. The time that the handler takes in between does not count."""
        allowed, began = ARRIVAL_SECONDS + self._reading.received / MIN_BYTES_PER_SECOND, time.monotonic()
        try:
            async with asyncio.timeout(allowed - self._waited):
                await self._reading.next()
        except TimeoutError:
            raise RequestTimeout from None
        finally:
            self._waited += time.monotonic() - began


def _check_length(headers: Headers, max_bytes: int) -> None:
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise BodyTooLarge(max_bytes)


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first returns `body` as one message, then delegates to `receive`."""
    first = True

    async def next_message() -> Message:
        nonlocal first
        if not first:
            return await receive()
        first = False
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message

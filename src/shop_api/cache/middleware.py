"""The ASGI layer that serves cacheable routes from the cache."""

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop_api.cache.cache import FetchedResponse, HttpCache
from shop_api.cache.marking import CacheableRoute
from shop_api.cache.memory import Entry
from shop_api.cache.response import CachedResponse, Key, without_content
from shop_api.http.etags import none_match
from shop_api.http.hit import Headers, Hit
from shop_api.http.request_state import request_state

# Clients may store the response but must revalidate it, because invalidations do not reach them.
_PUBLIC = b"public, no-cache"
_PRIVATE = b"private, no-cache"
# The only request headers passed on to make a shared response: no other header of one client may influence it.
_SHARED = frozenset({b"host", b"traceparent", b"tracestate"})
_REFUSALS = frozenset({401, 403, 404})


class CacheAccess:
    """Gives the layers access to the cache. Created before the app starts, as the layers are; opened at startup."""

    def __init__(self) -> None:
        self.cache: HttpCache
        self._is_genuine: Callable[[str], bool]

    def open(self, cache: HttpCache, is_genuine: Callable[[str], bool]) -> None:
        """Set the cache, and the function that checks an access token's signature and times. Call it before the first
        request."""
        self.cache, self._is_genuine = cache, is_genuine

    def in_memory(self, scope: Scope) -> Hit | None:
        """Return the 200 or 304 for this request if memory holds the response, else None.

        The outermost layer calls this, because each layer in between would cost as much as the hit itself.
        """
        if scope["method"] not in ("GET", "HEAD"):
            return None
        known, token, control, origin = _asked(scope)
        if origin is not None or (token is not None and control is not None):
            return None
        now = time.monotonic()
        entry = self.cache.memory.get(_key(scope), now)
        if entry is None or entry.status != 200:
            return None
        self.cache.counters.memory_hits += 1
        return _hit(scope, entry, known, now)

    def wants_fresh(self, token: bytes, control: bytes) -> bool:
        """Return whether the request sends `no-cache` with a genuine access token, and so skips stored responses."""
        scheme, _, access_token = token.decode("latin-1").partition(" ")
        return b"no-cache" in control.lower() and scheme.lower() == "bearer" and self._is_genuine(access_token)


class CacheMiddleware:
    """Serves GET and HEAD requests to `routes` from memory, or else through `HttpCache.fetch`.

    Stored responses are made without a token and served to everyone. A request with a token skips them in two cases:
    with `Cache-Control: no-cache`, if the token is genuine, and if the public response is 401, 403 or 404.
    """

    def __init__(self, app: ASGIApp, origin: ASGIApp, routes: Sequence[CacheableRoute], access: CacheAccess) -> None:
        self.app = app
        self._origin = origin
        self._routes = routes
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return await self.app(scope, receive, send)
        cache = self._access.cache
        known, token, control, _ = _asked(scope)
        key, now = _key(scope), time.monotonic()
        fresh = token is not None and control is not None and self._access.wants_fresh(token, control)
        entry = None if fresh else cache.memory.get(key, now)
        if entry is None or (entry.status != 200 and token is not None):
            return await self._forward(scope, receive, send, cache, key, known, token, fresh)
        cache.counters.memory_hits += 1
        scope["route"] = entry.route
        request_state(scope).cache = "hit"
        if entry.status != 200:
            return await _respond(
                scope, send, FetchedResponse(entry.response, entry.born, b"hit; detail=memory"), known
            )
        _, status, headers, body = _hit(scope, entry, known, now)
        return await _send(scope, send, status, headers, body)

    async def _forward(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        cache: HttpCache,
        key: Key,
        known: bytes | None,
        token: bytes | None,
        fresh: bool,
    ) -> None:
        for route in self._routes:
            if (tags := route.tags_of(scope["path"])) is not None:
                break
        else:
            return await self.app(scope, receive, send)
        scope["route"] = route
        found = await cache.fetch(key, tags, route, lambda: self._public_response(scope, tags), fresh=fresh)
        if token is not None and found.response.status in _REFUSALS:
            cache.counters.bypasses += 1
            return await self.app(scope, receive, _private(send))
        return await _respond(scope, send, found, known)

    async def _public_response(self, scope: Scope, tags: Sequence[str]) -> CachedResponse:
        """Return the response of `origin` to an unconditional request without a token."""
        headers = [header for header in scope["headers"] if header[0] in _SHARED]
        messages: list[Message] = []

        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._origin({**scope, "method": "GET", "headers": headers}, nothing, keep)
        start, *parts = messages
        body = b"".join(part.get("body", b"") for part in parts)
        response = CachedResponse(start["status"], [(name.lower(), value) for name, value in start["headers"]], body)
        if response.status != 200:
            return response
        etag = response.header(b"etag") or b'"%s"' % blake2b(body, digest_size=12).hexdigest().encode()
        return response.with_headers(etag=etag, cache_control=_PUBLIC, surrogate_key=" ".join(tags).encode())


def _asked(scope: Scope) -> tuple[bytes | None, bytes | None, bytes | None, bytes | None]:
    """Return the values of If-None-Match, Authorization, Cache-Control and Origin."""
    known = token = control = origin = None
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            known = value if known is None else known + b"," + value
        elif name == b"authorization":
            token = value
        elif name == b"cache-control":
            control = value if control is None else control + b"," + value
        elif name == b"origin":
            origin = value
    return known, token, control, origin


def _hit(scope: Scope, entry: Entry, known: bytes | None, now: float) -> Hit:
    if known is not None and (known == entry.etag or _matches(known, entry.etag)):
        return Hit(entry.route, 304, entry.headers(now, bodiless=True), b"")
    return Hit(entry.route, 200, entry.headers(now), b"" if scope["method"] == "HEAD" else entry.body)


def _key(scope: Scope) -> Key:
    # The order of parameters has no meaning, and the routes reject repeated ones.
    query: bytes = scope["query_string"]
    return scope["path"], b"&".join(sorted(query.split(b"&"))) if b"&" in query else query


async def _respond(scope: Scope, send: Send, found: FetchedResponse, known: bytes | None) -> None:
    state = request_state(scope)
    response = found.response.of_request(state.request_id)
    hit = found.status.startswith(b"hit")
    state.cache = "hit" if hit or found.status.endswith(b"collapsed") else "miss"
    headers = [*response.headers, (b"cache-status", b"shop_api; " + found.status)]
    if hit:
        headers.append((b"age", b"%d" % (time.monotonic() - found.born)))
    if response.status == 200 and known is not None and _matches(known, response.header(b"etag")):
        return await _send(scope, send, 304, without_content(headers), b"")
    return await _send(scope, send, response.status, headers, response.body)


async def _send(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _matches(known: bytes, etag: bytes | None) -> bool:
    return etag is not None and none_match(known.decode("latin-1"), etag.decode("latin-1"))


def _private(send: Send) -> Send:
    """Wrap `send` to mark the response as private to one caller."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [header for header in message["headers"] if header[0].lower() != b"cache-control"]
            extra = [(b"cache-control", _PRIVATE), (b"cache-status", b"shop_api; fwd=bypass")]
            message = {**message, "headers": [*headers, *extra]}
        await send(message)

    return marked

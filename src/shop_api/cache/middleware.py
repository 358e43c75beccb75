"""The cache in front of the router."""

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

# Anybody may keep it, and has to ask each time whether it is still current: nobody but us learns of changes.
_PUBLIC = b"public, no-cache"
_PRIVATE = b"private, no-cache"
# All that an answer for everyone is made from, besides its address. What else one client sends must change nothing.
_SHARED = frozenset({b"host", b"traceparent", b"tracestate"})
_REFUSALS = frozenset({401, 403, 404})


class CacheAccess:
    """The cache while the app runs. It is made before the app starts, since the layers that ask it are."""

    def __init__(self) -> None:
        self.cache: HttpCache
        self._is_genuine: Callable[[str], bool]

    def open(self, cache: HttpCache, is_genuine: Callable[[str], bool]) -> None:
        """Give it the cache, and the check whether an access token is ours and not expired. To be called before the
        first request."""
        self.cache, self._is_genuine = cache, is_genuine

    def in_memory(self, scope: Scope) -> Hit | None:
        """The answer, if it only has to be sent; for the outermost layer, since each one between costs as much."""
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
        """Whether the database's answer is asked for, by somebody who may."""
        scheme, _, access_token = token.decode("latin-1").partition(" ")
        return b"no-cache" in control.lower() and scheme.lower() == "bearer" and self._is_genuine(access_token)


class CacheMiddleware:
    """Answers GET and HEAD of `routes`.

    What is kept is made as for somebody without a token, and serves everyone. Somebody with a token gets past it in
    two cases: with `Cache-Control: no-cache`, if the token is good, and where the public answer is a refusal.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[CacheableRoute], access: CacheAccess) -> None:
        self.app = app
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
        """What the service answers to somebody without a token who holds nothing yet."""
        headers = [header for header in scope["headers"] if header[0] in _SHARED]
        messages: list[Message] = []

        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app({**scope, "method": "GET", "headers": headers}, nothing, keep)
        start, *parts = messages
        body = b"".join(part.get("body", b"") for part in parts)
        response = CachedResponse(start["status"], [(name.lower(), value) for name, value in start["headers"]], body)
        if response.status != 200:
            return response
        etag = response.header(b"etag") or b'"%s"' % blake2b(body, digest_size=12).hexdigest().encode()
        return response.with_headers(etag=etag, cache_control=_PUBLIC, surrogate_key=" ".join(tags).encode())


def _asked(scope: Scope) -> tuple[bytes | None, bytes | None, bytes | None, bytes | None]:
    """If-None-Match, Authorization, Cache-Control and Origin."""
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
    # The order of parameters means nothing; a repeated one is refused by the routes.
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
    """Marks an answer that was made for one caller."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [header for header in message["headers"] if header[0].lower() != b"cache-control"]
            extra = [(b"cache-control", _PRIVATE), (b"cache-status", b"shop_api; fwd=bypass")]
            message = {**message, "headers": [*headers, *extra]}
        await send(message)

    return marked

"""The tier in this process's memory: responses ready to send, each for at most one second, bounded in bytes."""

from collections import OrderedDict, deque
from collections.abc import Iterable

from shop_api.cache.response import CachedResponse, Key, without_content
from shop_api.http.hit import Headers

# Memory per entry besides its body, measured with tracemalloc in tests/cache/test_memory.py.
OVERHEAD_BYTES = 2_600
# Key size that OVERHEAD_BYTES includes.
_USUAL_KEY_BYTES = 100


class Entry:
    """A stored response and the headers to send with it."""

    __slots__ = (
        "_age",
        "_bodiless",
        "_headers",
        "body",
        "born",
        "etag",
        "expires",
        "response",
        "route",
        "size",
        "status",
        "tags",
    )

    def __init__(
        self, response: CachedResponse, tags: tuple[str, ...], route: object, born: float, expires: float
    ) -> None:
        self.response = response
        self.status = response.status
        self.body = response.body
        self.etag = response.header(b"etag")
        self.tags = tags
        self.route = route
        self.born = born
        self.expires = expires
        self.size = len(response.body) + OVERHEAD_BYTES
        self._age = -1
        self._headers: Headers = []
        self._bodiless: Headers = []

    def headers(self, now: float, *, bodiless: bool = False) -> Headers:
        """Return the headers of a hit; if `bodiless`, those of a 304. Callers must not modify the list."""
        age = int(now - self.born)
        if age != self._age:
            self._age = age
            own = [(b"age", b"%d" % age), (b"cache-status", b"shop_api; hit; detail=memory")]
            self._headers = [*self.response.headers, *own]
            self._bodiless = without_content(self._headers)
        return self._bodiless if bodiless else self._headers


class MemoryTier:
    """Entries by key; beyond `max_bytes` in total, the least recently used ones are evicted."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._keys: dict[str, set[Key]] = {}
        self._expiries: deque[tuple[float, Key]] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, now: float) -> Entry | None:
        entry = self._entries.get(key)
        if entry is None or now >= entry.expires:
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: Key, entry: Entry, now: float) -> None:
        self._drop(key)
        self._drop_expired(now)
        entry.size += max(0, len(key[0]) + len(key[1]) - _USUAL_KEY_BYTES)
        if now >= entry.expires or entry.size > self.max_bytes:
            return
        self._entries[key] = entry
        self._expiries.append((entry.expires, key))
        for tag in entry.tags:
            self._keys.setdefault(tag, set()).add(key)
        self.bytes += entry.size
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._entries)))

    def invalidate(self, tags: Iterable[str]) -> None:
        for tag in tags:
            for key in tuple(self._keys.get(tag, ())):
                self._drop(key)

    def clear(self) -> None:
        self._entries.clear()
        self._keys.clear()
        self._expiries.clear()
        self.bytes = 0

    def _drop_expired(self, now: float) -> None:
        # Expiries are nearly in order, since all entries have about the same TTL.
        while self._expiries and self._expiries[0][0] <= now:
            _, key = self._expiries.popleft()
            entry = self._entries.get(key)
            if entry is not None and entry.expires <= now:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self.bytes -= entry.size
        for tag in entry.tags:
            keys = self._keys[tag]
            keys.discard(key)
            if not keys:
                del self._keys[tag]

"""The response that the cache stores: status, headers and body, independent of any caller."""

import json
from dataclasses import dataclass
from typing import Any

from shop_api.http.hit import Headers

Key = tuple[str, bytes]
"""Path and canonical query."""

_ABOUT_CONTENT = frozenset({b"content-type", b"content-length"})
_PROBLEM = b"application/problem+json"


def without_content(headers: Headers) -> Headers:
    """Return the headers of a 304 that replaces a response with `headers`."""
    return [header for header in headers if header[0] not in _ABOUT_CONTENT]


@dataclass(frozen=True, slots=True)
class CachedResponse:
    status: int
    headers: Headers
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)

    def with_headers(self, **new_headers: bytes) -> "CachedResponse":
        """Return a copy in which these headers replace those of the same name; underscores stand for dashes."""
        new = {name.replace("_", "-").encode(): value for name, value in new_headers.items()}
        kept = [(name, value) for name, value in self.headers if name not in new]
        return CachedResponse(self.status, [*kept, *new.items()], self.body)

    def of_request(self, request_id: str) -> "CachedResponse":
        """Return the response for one request: a problem gets its `request_id`, anything else is unchanged."""
        if self.header(b"content-type") != _PROBLEM:
            return self
        problem: dict[str, Any] = json.loads(self.body) | {"request_id": request_id}
        body = json.dumps(problem, ensure_ascii=False, separators=(",", ":")).encode()
        return CachedResponse(self.status, self.headers, body).with_headers(content_length=str(len(body)).encode())

    def encode(self, made_at: float) -> bytes:
        """Return the response as bytes, with the time it was made, in seconds since 1970 (`time.time()`)."""
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers]
        head = [self.status, round(made_at, 3), headers]
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + self.body


def decode(raw: bytes) -> tuple[CachedResponse, float]:
    """Return the response and the time from the bytes of `CachedResponse.encode`. Raise ValueError if malformed."""
    head, separator, body = raw.partition(b"\n")
    try:
        status, made_at, headers = json.loads(head)
        found = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a stored response") from error
    if not separator or status not in (200, 404) or not isinstance(made_at, int | float):
        raise ValueError("not a stored response")
    response = CachedResponse(status, found, body)
    if response.header(b"content-length") != b"%d" % len(body):
        raise ValueError("incomplete stored response")
    return response, made_at

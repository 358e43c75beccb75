"""The HTTP/1.1 protocol: uvicorn's, with limits and fixes.

- Head and body of a response are written together. uvicorn writes them separately: if the instance is killed in
  between, nginx has part of a response and can no longer retry on another instance. A write is also a large part of
  the cost of a cache hit.
- The head of a request is limited in bytes, header lines and time, and so is the framing of a body (chunk sizes,
  trailers). uvicorn limits none of them.
- Upgrades are ignored (RFC 9110 §7.8), except to WebSocket, which is rejected. llhttp treats everything after a head
  with `Upgrade: h2c` as another protocol, and uvicorn drops it, including the body of every request of a Java client.
- Malformed and oversized requests are rejected with a problem response, sent after the responses to earlier requests.
- A URL in raw UTF-8, as curl sends it, is read as if it were percent-encoded.
- A request must have exactly one Host (RFC 9112 §3.2).

Written for uvicorn 0.54 and httptools 0.9. This is the only file that uses internals of uvicorn's protocol and of
httptools. tests/http/test_protocol.py fails if another version is installed, and names what to check again.
"""

import asyncio
import re
from functools import lru_cache
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from shop_api.http.request_state import REFUSAL
from shop_api.http.transport import Holding
from shop_api.kernel.errors import BadRequest, HeadersTooLarge, RequestTimeout, ShopError, UriTooLong

MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
MAX_URL_BYTES = 8 * 1024
HEAD_SECONDS = 10.0
# Bytes of framing allowed per byte of body. A chunk of one byte has five bytes of framing.
_FRAMING = 8
# `_count_down` never goes below this, so that after a large read every further head in it is measured.
_MEASURED = MAX_URL_BYTES + 1
_HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
_REQUEST_LINE = re.compile(rb"[\r\n]*[A-Z]+ ([^ \r\n]+) HTTP/")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
# Headers of a rejected head that the outer layers still need, for CORS and the request id.
_KEPT = frozenset({b"origin", b"x-request-id"})


class HttpProtocol(HttpToolsProtocol):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._size = 0
        """Bytes received for the incomplete message, without its body; may include short earlier heads."""
        self._timer: asyncio.TimerHandle | None = None
        """The deadline of the head that is being received."""
        self._too_much: ShopError | None = None
        self._websocket = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, Holding(transport, self)))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # Every overridden callback costs each request, so this method checks all that it can.
        self._size += len(data)
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._feed(data)
        cycle = self.cycle
        if self._timer is None and "method" in self.scope and not (cycle.more_body or cycle.response_complete):
            self._size = 0
        else:
            self._check_unfinished()

    def has_unread_input(self) -> bool:
        in_body = self.cycle is not None and self.cycle.more_body
        return self._size > 0 or in_body or isinstance(self.parser, _Deaf)

    def _is_between_messages(self) -> bool:
        return self.scope is None or ("method" in self.scope and not self.cycle.more_body)

    def _feed(self, data: bytes) -> None:
        starts_message = self._is_between_messages()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            # Only if `data` is certain to begin with a request line; otherwise a body could be parsed as a request.
            invalid_url = starts_message and isinstance(error, httptools.HttpParserInvalidURLError)
            encoded = _encoded(data) if invalid_url else None
            if encoded is None:
                self._refuse(self._too_much or BadRequest())
            else:
                self.parser = self._new_parser()
                self._feed_again(encoded)

    def _feed_again(self, data: bytes) -> None:
        """Parse `data`, which repeats a request whose parsing has begun, from its first byte."""
        self.scope = None  # type: ignore[assignment]
        self._feed(data)

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return parser

    def _should_upgrade(self) -> bool:
        # Called only if the parser treats the bytes that follow as another protocol. True prevents uvicorn from
        # starting a task: `_ignore_upgrade` feeds the same request again, without its upgrade.
        return True

    def _ignore_upgrade(self, rest: bytes) -> None:
        if self.scope["method"] == "CONNECT":
            return self._refuse(BadRequest())
        self._websocket = self._get_upgrade() == b"websocket"
        self.parser = self._new_parser()
        return self._feed_again(self._head_without_upgrade() + rest)

    def _head_without_upgrade(self) -> bytes:
        line = b"%s %s HTTP/%s" % (
            self.scope["method"].encode(),
            self.url,
            self.scope["http_version"].encode(),
        )
        lines = [line]
        for name, value in self.headers:
            if name == b"connection":
                value = b",".join(token for token in value.split(b",") if token.strip().lower() != b"upgrade")
            lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def on_headers_complete(self) -> None:
        if self._size > MAX_URL_BYTES or len(self.headers) > MAX_HEADERS:
            self._measure_head()
        HttpToolsProtocol.on_headers_complete(self)
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 or not _is_host(hosts[0]) or self._websocket or self.url == b"*":
            self._check(hosts)

    def on_body(self, body: bytes) -> None:
        self._count_down((_FRAMING + 1) * len(body))
        super().on_body(body)

    def _count_down(self, read: int) -> None:
        self._size = max(self._size - read, _MEASURED)

    def _measure_head(self) -> None:
        size = sum(len(name) + len(value) + 4 for name, value in self.headers)
        if len(self.url) > MAX_URL_BYTES:
            self._too_much = UriTooLong()
        elif len(self.headers) > MAX_HEADERS or size > MAX_HEAD_BYTES:
            self._too_much = HeadersTooLarge()
        if self._too_much is not None:
            raise self._too_much  # the parser reports it as an HttpParserError
        if not self.parser.should_upgrade():  # otherwise the head is fed again
            self._count_down(size + len(self.url))

    def _check_unfinished(self) -> None:
        """Apply limits and deadlines to an incomplete message, a first message, or empty lines before a message."""
        if self.transport.is_closing() or isinstance(self.parser, _Deaf):
            return self._stop_timer()
        in_head = self.scope is not None and "method" not in self.scope
        if self._is_between_messages():
            self._size = 0
        if in_head or self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body):
            self._await_head()
        else:
            self._stop_timer()
            if self.cycle.response_complete:  # the rest of the body is not needed and may never arrive
                return self.transport.close()
        if self._size > MAX_URL_BYTES + MAX_HEAD_BYTES or (self.headers and len(self.headers) > MAX_HEADERS):
            self._refuse(UriTooLong() if in_head and len(self.url) > MAX_URL_BYTES else HeadersTooLarge())
        return None

    def _await_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._is_between_messages():
            self.transport.close()
        elif self.cycle is not None and not self.cycle.response_complete:
            self._await_head()  # delayed by the requests before it
        else:
            self._refuse(RequestTimeout())

    def _check(self, hosts: list[bytes]) -> None:
        """Mark an invalid request as rejected. Called before its task starts."""
        if self.parser.should_upgrade():
            return  # the head is fed again
        if not (hosts or self.scope["http_version"] == "1.0") or len(hosts) > 1 or not all(map(_is_host, hosts)):
            self._mark(BadRequest("Exactly one Host header is required."))
        elif self._websocket:
            self._mark(BadRequest("WebSocket is not supported."))
        elif self.url == b"*" and self.scope["method"] != "OPTIONS":
            self._mark(BadRequest("Only OPTIONS can have the target *."))
        self._websocket = False

    def _mark(self, error: ShopError) -> None:
        cast(dict[str, object], self.scope)[REFUSAL] = error

    def _refuse(self, error: ShopError) -> None:
        """Reject the current message once earlier requests have their responses, and stop parsing the connection."""
        self.parser = cast(httptools.HttpRequestParser, _Deaf())
        self._stop_timer()
        self._mark(error)
        earlier = self.cycle
        if earlier is not None and earlier.scope is self.scope:  # the error is in its body
            earlier.keep_alive = earlier.more_body = False
            earlier.message_event.set()
            if earlier.response_complete:
                self.transport.close()
            return
        kept = [(name, value) for name, value in self.headers if name in _KEPT]
        nothing = {"method": "", "path": "", "raw_path": b"", "query_string": b"", "headers": kept}
        cast(dict[str, object], self.scope).update(nothing)
        self.cycle = self._last_cycle()
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.pipeline.appendleft((self.cycle, self.app))

    def _last_cycle(self) -> RequestResponseCycle:
        cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
        cycle.more_body = False
        return cycle


class _Deaf:
    """Replaces the parser of a connection whose further input is ignored."""

    def feed_data(self, data: bytes) -> None:
        pass


@lru_cache(256)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def _encoded(data: bytes) -> bytes | None:
    """Return `data` with its URL percent-encoded, or None if the URL is ASCII or there is no request line."""
    line = _REQUEST_LINE.match(data)
    if line is None or line[1].isascii():
        return None
    start, end = line.span(1)
    return data[:start] + _NOT_ASCII.sub(lambda byte: b"%%%02X" % byte[0][0], line[1]) + data[end:]

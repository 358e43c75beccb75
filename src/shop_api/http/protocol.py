"""HTTP/1.1 as this service speaks it: uvicorn's protocol, with what it leaves out.

- The head of an answer waits for the body. uvicorn writes them one after the other. From an instance that is killed
  in between, nginx has the beginning of an answer and cannot ask another instance any more; and of what a hit of the
  cache costs, a write is a good part.
- The head of a request is bounded in bytes, in header lines and in time, and so is what frames a body (sizes of
  chunks, trailers). uvicorn bounds none of them.
- An upgrade is ignored (RFC 9110 §7.8), but for that to WebSocket, which is refused. llhttp takes what follows a head
  with `Upgrade: h2c` for another protocol, and uvicorn drops it: the body of every request of a Java client.
- What is not HTTP, or too much, is refused with a problem, in its turn behind the requests before it.
- A URL in raw UTF-8, as curl sends it, is read as if it were percent-encoded.
- A request has exactly one Host (RFC 9112 §3.2).

Written for uvicorn 0.54 and httptools 0.9; nothing else knows what is inside them. tests/http/test_protocol.py fails
when another version is installed, and then says what to look at again.
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
# Bytes of framing that are allowed for each byte of a body: a chunk of one byte has five more around it.
_FRAMING = 8
# From so many bytes on, each head is measured until all that has arrived is read.
_MEASURED = MAX_URL_BYTES + 1
_HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
_REQUEST_LINE = re.compile(rb"[\r\n]*[A-Z]+ ([^ \r\n]+) HTTP/")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
# Of a head that is refused: who asks from which page, and under which id.
_KEPT = frozenset({b"origin", b"x-request-id"})


class HttpProtocol(HttpToolsProtocol):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._size = 0
        """Of what has arrived and belongs to no complete message, without bodies; more by short heads before it."""
        self._timer: asyncio.TimerHandle | None = None
        """Ends the wait for a head."""
        self._too_much: ShopError | None = None
        self._websocket = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, Holding(transport, self)))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # Each call here is paid for by every request: hence no override of a callback where this one can look.
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
            # Only if it is certain that `data` begins with the request line: else a body could pass for a request.
            invalid_url = starts_message and isinstance(error, httptools.HttpParserInvalidURLError)
            encoded = _encoded(data) if invalid_url else None
            if encoded is None:
                self._refuse(self._too_much or BadRequest())
            else:
                self.parser = self._new_parser()
                self._feed_again(encoded)

    def _feed_again(self, data: bytes) -> None:
        """Feed what begins with a request that has been begun already."""
        self.scope = None  # type: ignore[assignment]
        self._feed(data)

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return parser

    def _should_upgrade(self) -> bool:
        # Asked only where the parser says that what follows is another protocol. Then nothing is begun: the same
        # request comes again without its upgrade.
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
            raise self._too_much  # the parser stops with an error of its own
        if not self.parser.should_upgrade():  # else it comes again
            self._count_down(size + len(self.url))

    def _check_unfinished(self) -> None:
        """Look at a message that has not arrived in full, or at the first one, or at empty lines instead of one."""
        if self.transport.is_closing() or isinstance(self.parser, _Deaf):
            return self._stop_timer()
        in_head = self.scope is not None and "method" not in self.scope
        if self._is_between_messages():
            self._size = 0
        if in_head or self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body):
            self._await_head()
        else:
            self._stop_timer()
            if self.cycle.response_complete:  # nobody reads the rest of the body, which may never come
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
            self._await_head()  # the requests before it have held it up
        else:
            self._refuse(RequestTimeout())

    def _check(self, hosts: list[bytes]) -> None:
        """Mark a request as refused if it is not what it should be. Its task has not begun."""
        if self.parser.should_upgrade():
            return  # it comes again
        if not (hosts or self.scope["http_version"] == "1.0") or len(hosts) > 1 or not all(map(_is_host, hosts)):
            self._mark(BadRequest("There must be exactly one Host."))
        elif self._websocket:
            self._mark(BadRequest("There are no WebSockets here."))
        elif self.url == b"*" and self.scope["method"] != "OPTIONS":
            self._mark(BadRequest("Only OPTIONS takes * in place of a path."))
        self._websocket = False

    def _mark(self, error: ShopError) -> None:
        cast(dict[str, object], self.scope)[REFUSAL] = error

    def _refuse(self, error: ShopError) -> None:
        """Answer what cannot be read, after all that has come before it, and read no more."""
        self.parser = cast(httptools.HttpRequestParser, _Deaf())
        self._stop_timer()
        self._mark(error)
        earlier = self.cycle
        if earlier is not None and earlier.scope is self.scope:  # its body
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
    """In place of the parser, where nothing more is to be read."""

    def feed_data(self, data: bytes) -> None:
        pass


@lru_cache(256)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def _encoded(data: bytes) -> bytes | None:
    """`data` with its request line in ASCII; None if it is that already, or has none."""
    line = _REQUEST_LINE.match(data)
    if line is None or line[1].isascii():
        return None
    start, end = line.span(1)
    return data[:start] + _NOT_ASCII.sub(lambda byte: b"%%%02X" % byte[0][0], line[1]) + data[end:]

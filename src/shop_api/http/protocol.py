"""HTTP/1.1 as this service speaks it: uvicorn's protocol, with what it leaves out.

- The head of an answer waits for the body. uvicorn writes them one after the other. From an instance that is killed
  in between, nginx has the beginning of an answer and cannot ask another instance any more; and of what a hit of the
  cache costs, a write is a good part.
- An upgrade is ignored (RFC 9110 §7.8), but for that to WebSocket, which is refused. llhttp takes what follows a head
  with `Upgrade: h2c` for another protocol, and uvicorn drops it: the body of every request of a Java client.
- What is not HTTP is refused with a problem, in its turn behind the requests before it.
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
from shop_api.kernel.errors import BadRequest

_HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
_REQUEST_LINE = re.compile(rb"[\r\n]*[A-Z]+ ([^ \r\n]+) HTTP/")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


class HttpProtocol(HttpToolsProtocol):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._complete: object = None
        """The scope of the last message that has been read to its end."""
        self._websocket = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _Holding(transport)))

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        complete = self._complete
        starts_message = complete is self.scope
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            # Only if it is certain that `data` begins with the request line: else a body could pass for a request.
            first = starts_message and complete is self._complete
            encoded = _encoded(data) if first and isinstance(error, httptools.HttpParserInvalidURLError) else None
            if encoded is None:
                self._refuse()
            else:
                self.parser = self._new_parser()
                self._feed(encoded)

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
            return self._refuse()
        self._websocket = self._get_upgrade() == b"websocket"
        self.parser = self._new_parser()
        return self._feed(self._head_without_upgrade() + rest)

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
        super().on_headers_complete()
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 or not _is_host(hosts[0]) or self._websocket or self.url == b"*":
            self._check(hosts)

    def _check(self, hosts: list[bytes]) -> None:
        """Mark a request as refused if it is not what it should be. Its task has not begun."""
        if self.parser.should_upgrade():
            return  # it comes again
        if not (hosts or self.scope["http_version"] == "1.0") or len(hosts) > 1 or not all(map(_is_host, hosts)):
            self._mark("There must be exactly one Host.")
        elif self._websocket:
            self._mark("There are no WebSockets here.")
        elif self.url == b"*" and self.scope["method"] != "OPTIONS":
            self._mark("Only OPTIONS takes * in place of a path.")
        self._websocket = False

    def _mark(self, detail: str | None = None) -> None:
        cast(dict[str, object], self.scope)[REFUSAL] = BadRequest(detail)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._complete = self.scope

    def _refuse(self) -> None:
        """Answer what is not HTTP, after all that has come before it, and read no more."""
        self.parser = cast(httptools.HttpRequestParser, _Deaf())
        self._mark()
        earlier = self.cycle
        if earlier is not None and earlier.scope is self.scope:  # its body
            earlier.keep_alive = earlier.more_body = False
            earlier.message_event.set()
            if earlier.response_complete:
                self.transport.close()
            return
        nothing = {"method": "", "path": "", "raw_path": b"", "query_string": b"", "headers": []}
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


class _Holding:
    """A transport that holds a head back for what is written next, or until the event loop has its turn."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._soon = asyncio.get_running_loop().call_soon
        self.is_closing = transport.is_closing  # asked for at every request

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._soon(self._let_go)
            return
        self._transport.write(data)

    def close(self) -> None:
        self._let_go()
        self._transport.close()

    def _let_go(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

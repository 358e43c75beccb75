"""Answers in one piece: uvicorn's protocol, except that the head of an answer waits for the body.

uvicorn writes them one after the other. From an instance that is killed in between, nginx has the beginning of an
answer and cannot ask another instance any more; and of what a hit of the cache costs, a write is a good part.

Written for uvicorn 0.54, of which it relies on this: HttpToolsProtocol writes to the transport that `connection_made`
is given, and a head by a write of its own. tests/http/test_protocol.py fails when that changes.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HeadWithBody(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _Holding(transport)))


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

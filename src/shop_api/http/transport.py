"""The transport below the HTTP protocol: writes head and body together, and closes without losing a response."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

LINGER_SECONDS = 2.0
MAX_LINGER_BYTES = 1024 * 1024


class Reader(Protocol):
    """The protocol that reads a connection."""

    def has_unread_input(self) -> bool:
        """Return whether the client may still send input that the protocol will not read."""
        ...

    def connection_lost(self, exc: Exception | None) -> None: ...


class Holding:
    """A transport that buffers a response head until the next write or the next iteration of the event loop."""

    def __init__(self, transport: asyncio.Transport, reader: Reader) -> None:
        self._transport = transport
        self._reader = reader
        self._head = b""
        self._soon = asyncio.get_running_loop().call_soon
        self.is_closing: Callable[[], bool] = transport.is_closing  # bound here because every request calls it

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
        if self._reader.has_unread_input() and not self.is_closing() and self._transport.can_write_eof():
            self.is_closing = lambda: True
            self.write = lambda data: None  # type: ignore[method-assign]  # a request that is still running may write
            _LingeringClose(self._transport, self._reader)
        else:
            self._transport.close()

    def _let_go(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _LingeringClose(asyncio.Protocol):
    """Closes a connection on which the client may still be sending. Closing it at once would reset it, and the client
    would lose the response (RFC 9112 §9.6)."""

    def __init__(self, transport: asyncio.Transport, reader: Reader) -> None:
        self._transport = transport
        self._reader = reader
        self._left = MAX_LINGER_BYTES
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.close)
        transport.write_eof()
        transport.set_protocol(self)
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._reader.connection_lost(exc)

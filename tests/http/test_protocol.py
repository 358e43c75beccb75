"""In how many pieces answers leave, seen from a client's socket and from the transport."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shop_api.http.protocol import HeadWithBody, _Holding
from support.ports import free_port
from support.processes import PATIENCE

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Recorded(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Tapped:
    """A transport whose writes are written down."""

    def __init__(self, transport: asyncio.Transport, written: list[bytes]) -> None:
        self._transport, self._written = transport, written

    def write(self, data: bytes) -> None:
        self._written.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class TestHolding:
    @pytest.fixture
    async def below(self) -> Recorded:
        return Recorded()

    @pytest.fixture
    async def transport(self, below) -> _Holding:
        return _Holding(below)

    async def test_head_and_body_are_one(self, below, transport):
        transport.write(HEAD)
        transport.write(b"body")
        transport.write(b"more")
        await asyncio.sleep(0)
        assert below.written == [HEAD + b"body", b"more"]

    async def test_one_answer_after_the_other(self, below, transport):
        for _ in range(2):
            transport.write(HEAD)
            transport.write(b"body")
        await asyncio.sleep(0)
        assert below.written == [HEAD + b"body"] * 2

    async def test_a_head_alone_goes_with_the_next_turn(self, below, transport):
        transport.write(HEAD)
        assert below.written == []
        await asyncio.sleep(0)
        assert below.written == [HEAD]

    async def test_a_body_that_looks_like_a_head_stays_in_its_place(self, below, transport):
        transport.write(HEAD)
        transport.write(b"")
        transport.write(b"HTTP/1.1 is a protocol, ")
        transport.write(b"and so on")
        await asyncio.sleep(0)
        assert b"".join(below.written) == HEAD + b"HTTP/1.1 is a protocol, and so on"

    async def test_the_end_does_not_lose_it(self, below, transport):
        transport.write(HEAD)
        transport.close()
        await asyncio.sleep(0)
        assert (below.written, below.closed, transport.is_closing()) == ([HEAD], True, True)


go_on = asyncio.Event()


async def slow(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    if scope["path"] == "/slow":
        await go_on.wait()
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else b"body"})


@asynccontextmanager
async def served(protocol: type[HttpToolsProtocol]) -> AsyncIterator[int]:
    """The port of `slow`."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(slow, http=protocol, port=port, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield port
    server.should_exit = True
    await serving


class TestLibrary:
    """What is relied on of the insides of uvicorn."""

    @pytest.mark.parametrize(("protocol", "pieces"), [(HttpToolsProtocol, 2), (HeadWithBody, 1)])
    async def test_writes_a_head_and_then_a_body_to_the_transport_it_was_given(self, protocol: Any, pieces):
        written: list[bytes] = []

        class Recording(protocol):
            def connection_made(self, transport) -> None:
                super().connection_made(Tapped(transport, written))

        async with served(Recording) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
        assert b"".join(written) == answer
        assert len(written) == pieces
        assert written[0].startswith(b"HTTP/1.1 200 ")
        assert written[-1].endswith(b"body")


class TestServed:
    @pytest.fixture
    async def port(self) -> AsyncIterator[int]:
        async with served(HeadWithBody) as port:
            yield port

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_nobody_waits_for_a_head_until_there_is_a_body(self, port, method):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        go_on.clear()
        writer.write(f"{method} /slow HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).startswith(HEAD[:17])
        go_on.set()
        assert await reader.readexactly(0 if method == "HEAD" else 4) == (b"" if method == "HEAD" else b"body")
        writer.close()

    async def test_pipelined_requests_are_answered_in_their_order(self, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(request * 3 + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).count(b"\r\n\r\nbody") == 4
        writer.close()

"""HTTP/1.1 below the application, seen from a client's socket and from the transport."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, NamedTuple

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shop_api.http.problems import problem_response
from shop_api.http.protocol import HttpProtocol
from shop_api.http.request_state import REFUSAL
from shop_api.http.transport import Holding
from support.patience import PATIENCE
from support.ports import free_port

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


class Idle:
    """A protocol that has read all there was."""

    def has_unread_input(self) -> bool:
        return False

    def connection_lost(self, exc) -> None:
        pass


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
    async def transport(self, below) -> Holding:
        return Holding(below, Idle())

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
async def served(protocol: type[HttpToolsProtocol], app: Any = slow) -> AsyncIterator[int]:
    """The port of `app`."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, http=protocol, port=port, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield port
    server.should_exit = True
    await serving


class TestLibrary:
    """What is relied on of the insides of uvicorn and httptools."""

    @pytest.mark.parametrize(("library", "known"), [("uvicorn", "0.54"), ("httptools", "0.9")])
    def test_is_the_one_that_this_was_written_for(self, library, known):
        message = (
            f"compare {library}'s HTTP protocol with 0.54 and 0.9, as protocol.py uses its insides; then say so here"
        )
        assert version(library).rpartition(".")[0] == known, message

    @pytest.mark.parametrize(("protocol", "pieces"), [(HttpToolsProtocol, 2), (HttpProtocol, 1)])
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
        async with served(HttpProtocol) as port:
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


async def echo(scope, receive, send) -> None:
    """Answers with what the application is given."""
    if REFUSAL in scope:
        await problem_response(scope[REFUSAL], scope)(scope, receive, send)
        return
    body, more = b"", True
    while more:
        message = await receive()
        if REFUSAL in scope:
            await problem_response(scope[REFUSAL], scope)(scope, receive, send)
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    text = b" ".join([scope["method"].encode(), scope["raw_path"], scope["query_string"], body])
    length = (b"content-length", b"%d" % len(text))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": text})


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = json.loads(self.body)
        assert problem["status"] == self.status
        return str(problem["code"])


async def answers(reader: asyncio.StreamReader) -> AsyncIterator[Answer]:
    """Each answer until the end of the connection."""
    while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
        status, *lines = head.decode().strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        yield Answer(int(status.split()[1]), headers, await reader.readexactly(int(headers["content-length"])))
        if headers.get("connection") == "close":
            assert await reader.read() == b""
            return


H2C = b"Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class TestRequests:
    @pytest.fixture
    async def ask(self) -> AsyncIterator[Callable[..., Awaitable[list[Answer]]]]:
        async with served(HttpProtocol, echo) as port:

            async def ask(*pieces: bytes) -> list[Answer]:
                """The answers on one connection, to which the pieces are sent one after the other."""
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.02 if len(pieces) > 1 else 0)
                found = [answer async for answer in answers(reader)]
                writer.close()
                return found

            yield ask

    @pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.0", b"foo, bar"])
    async def test_an_upgrade_is_ignored_on_this_request_and_the_next(self, ask, upgrade):
        request = b"POST /a HTTP/1.1\r\n" + H2C.replace(b"h2c", upgrade) + b"Content-Length: 4\r\n\r\nbody"
        found = await ask(request + request + LAST)
        assert [(answer.status, answer.body) for answer in found] == [
            (200, b"POST /a  body"),
            (200, b"POST /a  body"),
            (200, b"GET /last  "),
        ]

    async def test_the_body_behind_an_upgrade_may_come_in_pieces(self, ask):
        head = b"POST /a HTTP/1.1\r\n" + H2C + b"Transfer-Encoding: chunked\r\n\r\n"
        found = await ask(head[:30], head[30:], b"4\r\nbo", b"dy\r\n0\r\n\r\n", LAST)
        assert [answer.body for answer in found] == [b"POST /a  body", b"GET /last  "]

    async def test_what_closes_beside_an_upgrade_closes(self, ask):
        (answer,) = await ask(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert (answer.body, answer.headers["connection"]) == (b"GET /a  ", "close")

    async def test_a_websocket_handshake_is_refused_and_the_connection_stays(self, ask):
        handshake = (
            b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        refused, last = await ask(handshake + LAST)
        assert (refused.status, refused.code, last.status) == (400, "bad_request", 200)

    @pytest.mark.parametrize(
        "request_",
        [
            b"nonsense\r\n\r\n",
            b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
            b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET /a HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
            b"GET /a HTTP/3.0\r\nHost: x\r\n\r\n",
            b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /a HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
            b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"POST /\xe9 HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        ],
    )
    async def test_what_is_not_http_is_a_problem_and_the_end(self, ask, request_):
        (refused,) = await ask(request_)
        assert (refused.status, refused.code, refused.headers["connection"]) == (400, "bad_request", "close")

    async def test_it_is_refused_in_its_turn(self, ask):
        first = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
        found = await ask(first + first + b"nonsense\r\n\r\n" + LAST, b"more")
        assert [answer.status for answer in found] == [200, 200, 400]

    @pytest.mark.parametrize(
        ("url", "seen"),
        [
            ("/a?q=caf\u00e9".encode(), b"/a q=caf%C3%A9 "),
            ("/caf\u00e9?q=\u00fc&r=%C3".encode(), b"/caf%C3%A9 q=%C3%BC&r=%C3 "),
            (b"/a?q=\xe9", b"/a q=%E9 "),
        ],
    )
    async def test_a_url_in_raw_utf_8_is_read(self, ask, url, seen):
        request = b"GET " + url + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        found = await ask(request, request, LAST)
        assert [answer.body for answer in found] == [b"GET " + seen] * 2 + [b"GET /last  "]

    async def test_the_rest_of_a_body_is_never_read_as_a_request(self, ask):
        inner = "GET /inner?q=\u00e9 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(inner)
        found = await ask(head, inner + "GET /\u00e9 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert [answer.status for answer in found] == [200, 400]
        assert found[0].body.startswith(b"POST /a  GET /inner")

    @pytest.mark.parametrize(
        "lines",
        [
            b"",
            b"Host: a\r\nHost: a\r\n",
            b"Host: a\r\nHost: b\r\n",
            b"Host: a b\r\n",
            b"Host: a/b\r\n",
            b"Host: a@b\r\n",
        ],
    )
    async def test_there_is_exactly_one_host(self, ask, lines):
        refused, last = await ask(b"GET /a HTTP/1.1\r\n" + lines + b"\r\n" + LAST)
        assert (refused.status, refused.code, last.status) == (400, "bad_request", 200)

    @pytest.mark.parametrize("host", [b"a", b"a.example:80", b"[::1]:4000", b"127.0.0.1", b"a_b"])
    async def test_a_host_is_a_name_or_an_address(self, ask, host):
        answer, _ = await ask(b"GET /a HTTP/1.1\r\nHost: " + host + b"\r\n\r\n" + LAST)
        assert answer.status == 200

    async def test_http_1_0_needs_none(self, ask):
        (answer,) = await ask(b"GET /a HTTP/1.0\r\n\r\n")
        assert answer.status == 200

    async def test_only_options_takes_an_asterisk(self, ask):
        options, refused, _ = await ask(
            b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\nGET * HTTP/1.1\r\nHost: x\r\n\r\n" + LAST
        )
        assert (options.body, refused.code) == (b"OPTIONS *  ", "bad_request")

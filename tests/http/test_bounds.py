"""What a client may send how slowly and how much of it, seen from its socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from shop_api.http import bodies, protocol
from shop_api.http.bodies import RequestBodyMiddleware
from shop_api.http.draining import Draining
from shop_api.http.middleware import ConcurrencyLimitMiddleware, CorsMiddleware, UnroutedMiddleware
from shop_api.http.protocol import MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES, HttpProtocol
from shop_api.http.request_context import RequestContextMiddleware
from shop_api.observability.requests import Requests
from support.patience import PATIENCE
from support.ports import free_port

GET = b"GET /products HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /register HTTP/1.1\r\nHost: x\r\n"
PAGE = "https://shop.example"
SHORT = 0.2
"""Seconds of a deadline in these tests."""
Send = Callable[..., Awaitable[tuple[int, dict[str, Any], dict[str, str]]]]


async def echo(scope, receive, send) -> None:
    """Tell how much was received."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = json.dumps({"size": size}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(requests: Requests) -> AsyncIterator[int]:
    """The port of an instance with two places."""
    bodies_read = RequestBodyMiddleware(ConcurrencyLimitMiddleware(echo, limit=2), [])
    app = RequestContextMiddleware(CorsMiddleware(UnroutedMiddleware(bodies_read), [PAGE]), requests, Draining())
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, http=HttpProtocol, port=port, log_config=None, lifespan="off", timeout_keep_alive=60)
    )
    running = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield port
    server.should_exit = True
    await running


@pytest.fixture
def requests() -> Requests:
    return Requests()


@pytest.fixture
async def port(requests) -> AsyncIterator[int]:
    async with serving(requests) as port:
        yield port


@pytest.fixture
def short(monkeypatch) -> None:
    """Clients have little time."""
    monkeypatch.setattr(bodies, "ARRIVAL_SECONDS", SHORT)
    monkeypatch.setattr(protocol, "HEAD_SECONDS", SHORT)


async def answered(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of the next answer."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), json.loads(body), headers


@pytest.fixture
async def send(port) -> AsyncIterator[Send]:
    """`await send(part, part)`: the answer to a request in these parts, on a connection of its own."""
    writers = []

    async def sent(*parts: bytes):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        writer.writelines(parts)
        answer = await answered(reader)
        if answer[2].get("connection") == "close":
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        return answer

    yield sent
    for writer in writers:
        writer.close()


class TestHeads:
    @pytest.mark.parametrize("count", [MAX_HEADERS - 1, MAX_HEADERS])
    async def test_headers_are_counted(self, send, count):
        status, body, _ = await send(GET, b"a: b\r\n" * count, b"\r\n")
        assert (status, body.get("code")) == ((200, None) if count < MAX_HEADERS else (431, "headers_too_large"))

    @pytest.mark.parametrize("size", [MAX_HEAD_BYTES - 200, MAX_HEAD_BYTES + 1, 4 * MAX_HEAD_BYTES])
    async def test_headers_are_measured(self, send, size):
        status, body, _ = await send(GET, b"a: ", b"b" * size, b"\r\n\r\n")
        fits = size < MAX_HEAD_BYTES
        assert (status, body.get("code")) == ((200, None) if fits else (431, "headers_too_large"))

    @pytest.mark.parametrize("start", [b"a: ", b"a: b\r\n" * 99 + b"a: "])
    async def test_so_they_are_before_they_are_complete(self, send, start):
        assert (await send(GET, start, b"b" * 4 * MAX_HEAD_BYTES))[0] == 431

    async def test_a_long_url_is_414(self, send):
        for size, expected in ((MAX_URL_BYTES - 2, 200), (MAX_URL_BYTES, 414), (8 * MAX_URL_BYTES, 414)):
            status, body, _ = await send(b"GET /?", b"q" * size, b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status == expected
        assert body["code"] == "uri_too_long"
        assert (await send(b"GET /?", b"q" * 8 * MAX_URL_BYTES))[0] == 414

    async def test_it_is_a_problem_with_an_id(self, send):
        _, body, headers = await send(GET, b"a: b\r\n" * 200, b"\r\n")
        assert headers["content-type"] == "application/problem+json"
        assert headers["x-request-id"] == body["request_id"] != ""

    async def test_a_page_and_a_proxy_learn_of_it(self, send):
        own = b"Origin: %s\r\nX-Request-ID: mine\r\n" % PAGE.encode()
        for flood in (b"a: b\r\n" * 200, b"a: " + b"b" * 4 * MAX_HEAD_BYTES):
            status, body, headers = await send(GET, own, flood, b"\r\n")
            assert (status, body["request_id"]) == (431, "mine")
            assert headers["access-control-allow-origin"] == PAGE

    async def test_it_is_refused_in_its_turn(self, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((GET + b"\r\n") * 2 + GET + b"a: b\r\n" * 200 + b"\r\n")
        assert [(await answered(reader))[0] for _ in range(3)] == [200, 200, 431]
        writer.close()

    @pytest.mark.parametrize("before", [GET + b"\r\n", POST + b"Content-Length: 9000\r\n\r\n" + b" " * 9000])
    async def test_each_of_many_in_one_piece_is_measured_by_itself(self, port, before):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            before * 20 + GET + b"a: " + b"b" * 30_000 + b"\r\n\r\n" + GET + b"a: " + b"b" * 33_000 + b"\r\n\r\n"
        )
        assert [(await answered(reader))[0] for _ in range(22)] == [200] * 21 + [431]
        writer.close()

    async def test_so_is_one_with_an_upgrade(self, send):
        upgrade = GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
        for size, expected in ((20_000, 200), (MAX_HEAD_BYTES + 1, 431)):
            assert (await send(upgrade, b"a: ", b"b" * size, b"\r\n\r\n"))[0] == expected

    @pytest.mark.parametrize("sent", [b"", b"GET /", GET + b"a: b\r\n"])
    async def test_it_has_to_arrive_in_time(self, port, short, sent):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
        assert answer.startswith(b"HTTP/1.1 408 " if sent else b"")
        writer.close()

    async def test_so_has_the_second_one_of_a_connection(self, port, short):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET + b"\r\n")
        assert (await answered(reader))[0] == 200
        writer.write(b"GET /")
        assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 408 ")
        writer.close()

    async def test_empty_lines_are_none(self, port, short):
        for before in (b"", GET + b"\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(before)
            if before:
                await answered(reader)
            writer.write(b"\r\n")
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
            writer.close()

    @pytest.mark.parametrize(
        "flood", [b"0\r\n" + b"a: b\r\n" * 50_000, b"0\r\na: " + b"b" * 500_000, b"1;" + b"e" * 500_000]
    )
    async def test_trailers_and_chunk_extensions_are_bounded(self, send, flood):
        status, body, headers = await send(POST, b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", flood)
        assert (status, body["code"], headers["connection"]) == (431, "headers_too_large", "close")

    async def test_small_chunks_are_not(self, send):
        chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        assert (await send(chunked, b"1\r\nx\r\n" * 16_000, b"0\r\n\r\n"))[1] == {"size": 16_000}


class TestBodies:
    async def test_one_that_never_arrives_takes_no_place(self, port, send):
        connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        for _, writer in connections:
            writer.write(POST + b"Content-Length: 10\r\n\r\n{")
        await asyncio.sleep(0.1)
        assert (await send(POST, b"Content-Length: 2\r\n\r\n{}"))[1] == {"size": 2}
        for _, writer in connections:
            writer.close()

    async def test_it_has_to_arrive_in_time(self, short, send):
        status, body, headers = await send(POST, b"Content-Length: 10\r\n\r\n{")
        assert (status, body["code"], headers["connection"]) == (408, "request_timeout", "close")

    async def test_one_byte_after_the_other_is_no_progress(self, port, short):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b"Content-Length: 16000\r\n\r\n")

        async def drip() -> None:
            while True:
                writer.write(b" ")
                await asyncio.sleep(SHORT / 20)

        dripping = asyncio.create_task(drip())
        assert (await answered(reader))[0] == 408
        dripping.cancel()
        writer.close()

    async def test_one_that_arrives_fast_enough_has_more_time(self, monkeypatch, port):
        monkeypatch.setattr(bodies, "ARRIVAL_SECONDS", 2.0)
        monkeypatch.setattr(bodies, "MIN_BYTES_PER_SECOND", 10)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b"Content-Length: 1500\r\n\r\n")
        for _ in range(15):
            writer.write(b" " * 100)
            await asyncio.sleep(0.2)
        assert (await answered(reader))[1] == {"size": 1500}
        writer.close()

    async def test_a_refusal_reaches_a_client_that_is_still_sending(self, send):
        status, body, _ = await send(POST, b"Content-Length: 500000\r\n\r\n", b" " * 500_000)
        assert (status, body["code"]) == (413, "body_too_large")

    async def test_there_is_only_so_much_memory_for_those_under_way(self, monkeypatch, port, send):
        monkeypatch.setattr(bodies, "MAX_BUFFERED_BYTES", 5000)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b"Content-Length: 10000\r\n\r\n" + b" " * 4000)
        await asyncio.sleep(0.1)
        assert (await send(POST, b"Content-Length: 2000\r\n\r\n", b" " * 2000))[1]["code"] == "overloaded"
        writer.close()
        await asyncio.sleep(0.1)
        assert (await send(POST, b"Content-Length: 2000\r\n\r\n", b" " * 2000))[1] == {"size": 2000}


class TestClientsThatLeave:
    async def test_are_counted_as_499_and_are_no_error(self, port, requests, caplog):
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(POST + b"Content-Length: 10\r\n\r\n{")
            await asyncio.sleep(0.05)
            writer.close()
        await asyncio.sleep(0.2)
        assert requests._series["other", "POST", 499].count == 3
        assert requests.unexpected_errors == 0
        assert "ERROR" not in [record.levelname for record in caplog.records]
        statuses = {s.labels["status"] for m in requests.collect() for s in m.samples if "status" in s.labels}
        assert "499" in statuses
        classes = {s.labels["status_class"] for m in requests.collect() for s in m.samples if "le" in s.labels}
        assert classes == {"none", "5xx"}

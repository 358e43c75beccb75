"""Many clients at once, with as little work for each as possible: two cores are for the service as well."""

import asyncio
import itertools
import time
from typing import NamedTuple


class Reply(NamedTuple):
    """What one GET came to: its status, 0 when it was cut off."""

    status: int
    seconds: float


class Crowd:
    """So many clients, each of which sends one GET after the other until `seconds` have passed."""

    def __init__(self, port: int, path: str, clients: int, *, pause: float = 0) -> None:
        self._port, self._path, self._clients, self._pause = port, path, clients, pause
        self._numbers = itertools.count()
        self.outcomes: list[Reply] = []

    async def run(self, seconds: float) -> list[Reply]:
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._client(end) for _ in range(self._clients)))
        return self.outcomes

    async def _client(self, end: float) -> None:
        streams = None
        while time.monotonic() < end:
            started = time.monotonic()
            try:
                streams = streams or await asyncio.open_connection("127.0.0.1", self._port)
                status, is_last = await self._get(*streams)
            except (OSError, asyncio.IncompleteReadError):
                status, is_last = 0, True
            self.outcomes.append(Reply(status, time.monotonic() - started))
            if is_last and streams:
                streams[1].close()
                streams = None
            await asyncio.sleep(self._pause)
        if streams:
            streams[1].close()

    async def _get(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bool]:
        """The status, and whether the connection ends with it: nginx closes one after a thousand requests."""
        # Each for something else, so that no cache has it.
        path = self._path.replace("{n}", str(next(self._numbers)))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        return int(head.split(None, 2)[1]), b"\nconnection: close\r" in head


def percentile(outcomes: list[Reply], share: float) -> float:
    times = sorted(outcome.seconds for outcome in outcomes)
    return times[min(len(times) - 1, int(len(times) * share))]


class SlowClients:
    """Connections that are kept open by sending as little as possible, as slowly as possible: a third in the middle
    of the headers, a third in the middle of a body, and a third that do not read their answers."""

    def __init__(self, port: int, number: int) -> None:
        self._port, self._number = port, number
        self.ended = 0
        """By the other side."""

    async def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        kinds = (
            b"GET / HTTP/1.1\r\nHost: shop\r\nX-Slow: ",
            b"POST /register HTTP/1.1\r\nHost: shop\r\nContent-Type: text/plain\r\nContent-Length: 99999\r\n\r\n",
            b"GET /openapi.json HTTP/1.1\r\nHost: shop\r\n\r\n",
        )
        await asyncio.gather(*(self._client(kinds[n % 3], end) for n in range(self._number)))

    async def _client(self, beginning: bytes, end: float) -> None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1)
            writer.write(beginning)
            while time.monotonic() < end:
                await asyncio.sleep(1)
                writer.write(b"x" if beginning.endswith(b": ") or beginning.startswith(b"POST") else b"")
                await writer.drain()
                if writer.transport.is_closing():
                    self.ended += 1
                    return
            writer.close()
        except OSError:
            self.ended += 1

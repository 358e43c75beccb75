"""Engines and wires that can be broken on purpose, and mended."""

import asyncio
import os
import resource
import shutil
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shop_api import embedded
from shop_api.embedded.child import child
from support.pids import engines_on, mongo_on
from support.ports import free_port


class RedisServer:
    """A Redis that can be killed, hang, and come back with what it had when it was told to save."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._running = ExitStack()
        self.port = free_port()

    def start(self) -> None:
        command = [embedded.redis.binary(), "--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        command += ["--dir", self._folder, *self._options]
        self._process = self._running.enter_context(child(list(map(str, command)), self._folder / "log"))
        while not self.says("PING").startswith(b"+PONG"):
            time.sleep(0.005)

    def says(self, command: str) -> bytes:
        """The beginning of its answer; nothing if there is none."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(1024)
        except OSError:
            return b""

    def save(self) -> None:
        assert self.says("SAVE").startswith(b"+OK")

    def freeze(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._running.close()

    def forget_saved(self) -> None:
        (self._folder / "dump.rdb").unlink(missing_ok=True)

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            self.thaw()
        self._running.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class MongoServer:
    """The embedded MongoDB on a folder, which can be killed and comes back with its data, on another port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = ExitStack()

    def start(self) -> int:
        """The port it listens on."""
        url = self._running.enter_context(embedded.mongo.running(self._folder))
        return int(urlsplit(url).port or 0)

    def kill(self) -> None:
        for pid in engines_on(self._folder):
            os.kill(pid, signal.SIGKILL)
        self._running.close()

    def stop(self) -> None:
        self._running.close()


NEEDS_PRLIMIT = pytest.mark.skipif(sys.platform != "linux", reason="skipped: only Linux limits a running process")


def fill_disk(folder: Path) -> None:
    """No file of the MongoDB that runs on `folder` can grow any more, as on a full disk. Needs no rights."""
    [pid] = mongo_on(folder)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))


class Wire:
    """A TCP connection between a client and a server on 127.0.0.1, with everything that can go wrong on one; with
    `tls`, the client has to speak it."""

    port: int
    """Where it is open, if whoever opened it keeps that here."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.server_port = port
        self._tls = tls
        self.delay = 0.0
        """Seconds that everything takes longer."""
        self.cut = False
        """Nothing gets through, and every connection breaks."""
        self.refused: tuple[bytes, ...] = ()
        """A connection on which a client says one of these breaks."""
        self.generation = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @contextmanager
    def open(self) -> Iterator[int]:
        """The port to connect to instead. It works in a thread, since Motor's last words block the loop."""
        port: Future[int] = Future()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(port)))
        thread.start()
        try:
            yield port.result(5)
        finally:
            self._loop.call_soon_threadsafe(self._ended.set)
            thread.join()

    def break_all(self) -> None:
        self._loop.call_soon_threadsafe(lambda: list(map(asyncio.StreamWriter.close, tuple(self._writers))))

    def reset_all(self) -> None:
        """Every connection breaks at once, without a goodbye (RST)."""
        self._loop.call_soon_threadsafe(lambda: list(map(_reset, tuple(self._writers))))

    def vanish(self) -> None:
        """Nothing gets through any more on the connections that there are, and they stay open; new ones work."""
        self.generation += 1

    async def _wait(self, born: int) -> None:
        """Until what comes on a connection of that generation gets through."""
        while self.generation != born:
            await asyncio.sleep(3600)
        if self.delay:
            await asyncio.sleep(self.delay)

    async def _serve(self, port: "Future[int]") -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0, ssl=self._tls)
        port.set_result(server.sockets[0].getsockname()[1])
        await self._ended.wait()
        server.close()
        for writer in tuple(self._writers):
            writer.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(OSError, asyncio.CancelledError):  # the end of the server cancels
            if not self.cut:
                upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.server_port)
                self._writers.add(upstream)
                await self._join((reader, writer), (upstream_reader, upstream))
                self._close(upstream)
        self._close(writer)

    async def _join(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Passes on what both say until one of them ends."""
        both = (self._pass(client[0], server[1], self._is_refused), self._pass(server[0], client[1], self._is_lost))
        tasks = [asyncio.create_task(each) for each in both]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    def _close(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()

    def _is_refused(self, data: bytes) -> bool:
        return any(word in data for word in self.refused)

    def _is_lost(self, data: bytes) -> bool:
        """Whether the connection breaks in place of this part of an answer."""
        return False

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: Callable[[bytes], bool]
    ) -> None:
        born = self.generation
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.cut or ends(data):
                    return
                await self._wait(born)
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

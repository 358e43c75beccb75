"""A wire to MongoDB that understands enough of what is said on it (OP_MSG) to break single commands."""

import asyncio
import struct
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import bson
from pydantic import SecretStr

from shop_api.settings import Settings
from support.faults import Wire

WRITES = frozenset({"insert", "update", "delete"})
HEARTBEATS = frozenset({"instances", "leases"})
"""Collections that instances write to by themselves, at any time: a fault for any collection leaves them alone."""
_HEADER = struct.Struct("<iiii")
_OP_MSG = 2013

NOT_PRIMARY = {
    "ok": 0,
    "code": 10107,
    "codeName": "NotWritablePrimary",
    "errmsg": "not primary",
    "errorLabels": ["RetryableWriteError"],
}
SHUTTING_DOWN = {"ok": 0, "code": 91, "codeName": "ShutdownInProgress", "errmsg": "shutdown in progress"}


class Fault(NamedTuple):
    """What happens to a command: `refused` with an error in place of an answer, `lost` after it was carried out, with
    its reply and the connection, or `held` before it."""

    kind: Literal["refused", "lost", "held"]
    commands: Collection[str]
    error: dict[str, Any] = {}  # noqa: RUF012  # never changed
    collection: str | None = None
    in_transaction: bool = True
    """Whether commands of transactions are meant too."""


class MongoWire(Wire):
    """Breaks the commands that meet a fault; each fault is met as often as it was added."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._faults: list[Fault] = []
        self._adding = threading.Lock()
        self.met = 0
        self.holding = threading.Event()
        """A command is being held."""

    def add(self, fault: Fault, times: int = 1) -> None:
        with self._adding:
            self._faults += [fault] * times

    def mend(self) -> None:
        """No more faults of any kind; what has been held is not carried out, and its connection breaks."""
        with self._adding:
            self._faults.clear()
        self.delay, self.cut = 0.0, False
        self.holding.clear()

    def _meets(self, name: str, collection: Any, in_transaction: bool) -> Fault | None:
        with self._adding:
            for fault in self._faults:
                meant = collection not in HEARTBEATS if fault.collection is None else collection == fault.collection
                if name in fault.commands and meant and (fault.in_transaction or not in_transaction):
                    self._faults.remove(fault)
                    self.met += 1
                    return fault
        return None

    async def _join(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        lost: set[int] = set()  # requests whose replies nobody will get
        born = self.generation
        tasks = [
            asyncio.create_task(self._ask(client[0], server[1], client[1], lost, born)),
            asyncio.create_task(self._reply(server[0], client[1], lost, born)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        lost: set[int],
        born: int,
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while not self.cut:
                request_id, _, message = await _message(reader)
                if self.cut:
                    return
                await self._wait(born)
                fault = self._meets(*_command(message))
                if fault is None or fault.kind == "lost":
                    if fault:
                        lost.add(request_id)
                    server.write(message)
                    await server.drain()
                elif fault.kind == "refused":
                    client.write(_answer(request_id, fault.error))
                    await client.drain()
                else:
                    self.holding.set()
                    while self.holding.is_set():
                        await asyncio.sleep(0.01)
                    return

    async def _reply(
        self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, lost: set[int], born: int
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while not self.cut:
                _, response_to, message = await _message(reader)
                if self.cut or response_to in lost:
                    return
                await self._wait(born)
                client.write(message)
                await client.drain()


@contextmanager
def wired(settings: Settings) -> Iterator[tuple[MongoWire, Settings]]:
    """A wire to the MongoDB of `settings`, and settings that lead through it."""
    wire = MongoWire(urlsplit(settings.required()[0]).port or 27017)
    with wire.open() as port:
        url = SecretStr(f"mongodb://127.0.0.1:{port}/?directConnection=true")
        yield wire, settings.model_copy(update={"mongo_url": url})


async def _message(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """The id of a message, the id of the one it answers, and all of it."""
    header = await reader.readexactly(_HEADER.size)
    length, request_id, response_to, _ = _HEADER.unpack(header)
    return request_id, response_to, header + await reader.readexactly(length - _HEADER.size)


def _command(message: bytes) -> tuple[str, Any, bool]:
    """The name of the command in a message, what it is for (mostly a collection) and whether a transaction has it."""
    if _HEADER.unpack_from(message)[3] != _OP_MSG:
        return "", None, False
    start = _HEADER.size + 5  # flags, and the kind of the first section
    (length,) = struct.unpack_from("<i", message, start)
    command = bson.decode(message[start : start + length])
    name = next(iter(command))
    return name, command[name], "autocommit" in command


def _answer(request_id: int, document: dict[str, Any]) -> bytes:
    body = struct.pack("<IB", 0, 0) + bson.encode(document)
    return _HEADER.pack(_HEADER.size + len(body), 0, request_id, _OP_MSG) + body

"""Each kind of work that a stranger can order, without nginx in between, beside clients that want to read products.

The control is as many harmless requests of the same size.
"""

import asyncio
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from e2e.crowd import Crowd, Reply, percentile
from e2e.scale import amount
from e2e.stack import Instance
from security.test_hostile_bodies import KIB, LARGE, SHAPES, SMALL, filled
from shop_api.kernel import tasks

pytestmark = [pytest.mark.e2e, pytest.mark.campaign]

SECONDS = amount("ATTACK_SECONDS", 2)
MOST = 5
"""How many times as long the slowest in a hundred may take beside the attack as beside the control."""

Made = Callable[[int], bytes]
"""The request of this number."""


def request(line: str, *headers: str, body: bytes | None = None) -> bytes:
    length = [] if body is None else [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    return "\r\n".join([f"{line} HTTP/1.1", "Host: shop", *length, *headers, "", ""]).encode() + (body or b"")


def registration(password: str, size: int = 0) -> bytes:
    """One that is refused for its password before anything is hashed."""
    body = b'{"username":"ada","password":"' + password.encode() + b'"}'
    return request("POST /register", body=body.ljust(size))


@functools.cache
def mistakes(shape: str, size: int) -> bytes:
    return filled(*SHAPES[shape], size)


def product(body: bytes) -> bytes:
    return request("POST /products", body=body)


class Attack(NamedTuple):
    hostile: Made
    harmless: Made
    clients: int = 8
    pace: float = 0.04
    """Seconds from the beginning of one request of a client to its next."""
    leaves: bool = False
    """Whether attackers go away when they have sent theirs."""


CALM = b'{"name":"Tea"}'
HEAD_ROOM = 30 * KIB
ATTACKS = {
    "marks in a password": Attack(
        lambda n: registration("\u0316\u0301" * (15 * KIB // 4)), lambda n: registration("x" * 15 * KIB)
    ),
    "mistakes of every kind": Attack(
        lambda n: request("POST /register", body=mistakes(list(SHAPES)[n % len(SHAPES)], SMALL)),
        lambda n: registration("short", SMALL),
    ),
    "a mebibyte of unknown fields": Attack(
        lambda n: product(mistakes("unknown fields", LARGE)), lambda n: product(CALM.ljust(LARGE)), pace=0.8
    ),
    "bodies that never arrive": Attack(
        lambda n: request("POST /products", "Content-Length: 9999") + b"{",
        lambda n: product(CALM),
        clients=400,
        pace=12,
    ),
    "clients that leave": Attack(
        lambda n: request("POST /products", "Content-Length: 99999") + b" " * 9999,
        lambda n: product(CALM.ljust(9999)),
        leaves=True,
    ),
    "a length without a body": Attack(
        lambda n: request(f"GET /products?q=calm{n}", "Content-Length: 2000000"),
        lambda n: request(f"GET /products?q=calm{n}"),
    ),
    "lists that nobody asked for": Attack(
        lambda n: request(f"GET /products?q=fill{n}&limit=100"), lambda n: request("GET /products?q=fill&limit=100")
    ),
    "long heads": Attack(
        lambda n: request("GET /products", *(f"X-{i}: {'x' * 300}" for i in range(HEAD_ROOM // 300))),
        lambda n: request("GET /products", *(f"X-{i}: {'x' * (HEAD_ROOM // 64)}" for i in range(64))),
    ),
    "upgrades": Attack(
        lambda n: request(
            "POST /auth",
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABk",
            body=b"{}",
        ),
        lambda n: request("POST /auth", body=b"{}"),
    ),
    "nonsense": Attack(lambda n: b"\x16\x03\x01" * 20 + b"\r\n\r\n", lambda n: request("GET /health/live")),
}


class Attackers:
    def __init__(self, port: int, attack: Attack, made: Made) -> None:
        self._port, self._attack, self._made = port, attack, made
        self._numbers = itertools.count()
        self.sent = 0

    async def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        clients = [asyncio.create_task(self._client(end)) for _ in range(self._attack.clients)]
        await asyncio.sleep(seconds)
        await tasks.end(clients)  # who waits for an answer may do so for longer

    async def _client(self, end: float) -> None:
        while (started := time.monotonic()) < end:
            with suppress(OSError):
                await self._send(self._made(next(self._numbers)))
            await asyncio.sleep(max(0.0, started + self._attack.pace - time.monotonic()))

    async def _send(self, content: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(content)
            await writer.drain()
            self.sent += 1
            if not self._attack.leaves:
                await reader.read(1)
        finally:
            writer.close()


@pytest.fixture(scope="module")
def instance(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder: Path = tmp_path_factory.mktemp("attacked")
    instance = Instance(env, folder)
    instance.start()
    yield instance
    instance.stop()


async def beside(attackers: Attackers, port: int) -> list[Reply]:
    """What clients get meanwhile who ask for lists that are in no cache."""
    under_way = asyncio.create_task(attackers.run(SECONDS))
    outcomes = await Crowd(port, f"/products?q={id(attackers)}-{{n}}", 4, pause=0.02).run(SECONDS)
    await under_way
    return outcomes


@pytest.mark.parametrize("name", ATTACKS)
async def test_is_not_noticed_by_others(instance: Instance, name: str):
    attack = ATTACKS[name]
    control, attackers = (Attackers(instance.port, attack, made) for made in (attack.harmless, attack.hostile))
    expected, found = [await beside(each, instance.port) for each in (control, attackers)]
    good = sum(outcome.status == 200 for outcome in found)
    slowest, before = percentile(found, 0.99), percentile(expected, 0.99)
    print(
        f"\n{name}: {attackers.sent} attacks, {control.sent} harmless; {good} of {len(found)} good, "
        f"p99 {slowest * 1000:.0f} ms, {before * 1000:.0f} ms beside the control"
    )
    assert attackers.sent >= attack.clients
    assert good >= len(found) * 0.999
    if SECONDS >= 30:  # of fewer requests the slowest in a hundred say nothing
        assert slowest <= MOST * before

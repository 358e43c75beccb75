"""What was acknowledged is there after kill -9, at any moment, on embedded engines.

CHAOS_WRITES sets how many writes have to be acknowledged meanwhile; `make chaos` waits for 5,000.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
from pathlib import Path

import httpx
import pytest
from pymongo import MongoClient

from shop_api import embedded
from shop_api.settings import Settings
from support.factories import PASSWORD, a_product
from support.patience import PATIENCE
from support.pids import engines_on
from support.processes import environment, started

pytestmark = pytest.mark.long

WRITES = int(os.environ.get("CHAOS_WRITES", "450"))
AT_ONCE = 16
KILLS = 3


class Writers:
    """Some clients that add products as fast as they are acknowledged."""

    def __init__(self) -> None:
        self.attempted: set[str] = set()
        self.acknowledged: set[str] = set()
        self.killing = False

    async def write(self, url: str, token: str, until: int) -> None:
        """Until so many have been acknowledged, or the service is gone."""
        address = httpx.URL(url)
        await asyncio.gather(*(self._write(address, token, until) for _ in range(AT_ONCE)))

    async def _write(self, address: httpx.URL, token: str, until: int) -> None:
        # By hand, so that two cores are for the service rather than for its clients.
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            while len(self.acknowledged) < until:
                product_id = f"p-{len(self.attempted)}"
                self.attempted.add(product_id)
                body = json.dumps(a_product(product_id=product_id, name=f"Product {product_id}")).encode()
                head = (
                    f"POST /products HTTP/1.1\r\nHost: shop.test\r\nAuthorization: Bearer {token}\r\n"
                    f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                writer.write(head.encode() + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                if not answer.startswith(b"HTTP/1.1 201 "):
                    assert self.killing, answer + await reader.readexactly(length)
                    return
                self.acknowledged.add(product_id)
                await reader.readexactly(length)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def sign_in(url: str) -> str:
    answer = httpx.post(f"{url}/auth", json={"username": "owner", "password": PASSWORD}, timeout=PATIENCE)
    return answer.json()["access_token"]


def stored(folder: Path) -> dict[str, str]:
    """The names of all products by id."""
    settings = Settings(mongo_url=None, redis_url=None, data_dir=folder)
    with (
        embedded.running(settings, lambda _: None, join=True) as running,
        MongoClient[dict](running.required()[0]) as client,
    ):
        return {document["_id"]: document["name"] for document in client["shop"]["products"].find({}, {"name": 1})}


async def test_acknowledged_writes_survive_three_kills(engines, tmp_path):
    folder = tmp_path / "data"
    env = {
        **{name: value for name, value in environment(engines).items() if not name.startswith("SHOP_")},
        "SHOP_DATA_DIR": str(folder),
        "SHOP_PORT": "0",
        "SHOP_RATE_LIMITS": "off",
        "SHOP_LOG_LEVEL": "error",
        "SHOP_ADMIN_USERNAME": "owner",
        "SHOP_ADMIN_PASSWORD": PASSWORD,
    }
    writers = Writers()
    for kill in range(1, KILLS + 1):
        with started(env, tmp_path / f"serve-{kill}.log") as (process, url):
            victims = [process.pid, *engines_on(folder)]
            assert len(victims) == 4  # with MongoDB and both Redis servers
            random.shuffle(victims)
            writing = asyncio.create_task(writers.write(url, sign_in(url), WRITES * 2))
            # At a random moment, which is not that of an answer.
            while len(writers.acknowledged) < WRITES * kill // KILLS and not writing.done():
                await asyncio.sleep(random.uniform(0.001, 0.01))
            writers.killing = True
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):  # it went with the service
                    os.kill(pid, signal.SIGKILL)
            await writing
            writers.killing = False
        there = stored(folder)
        assert writers.acknowledged - there.keys() == set()
        assert there.keys() <= writers.attempted
        assert all(name == f"Product {product_id}" for product_id, name in there.items())
    assert len(writers.acknowledged) >= WRITES

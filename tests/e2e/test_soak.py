"""Under a steady load nothing grows: not the memory of an instance, nor the number of its open files.

CHAOS_SOAK is how many seconds it takes; `make soak-hour` sets it, and then the load is ten times as high.
"""

import itertools
import sys
import threading
import time
from pathlib import Path

import pytest

from e2e.conftest import ADMIN
from e2e.scale import IN_THE_SUITE, amount
from e2e.stack import Instance, nginx
from e2e.traffic import Client, Reply
from e2e.usage import memory, open_files
from support.factories import PASSWORD, a_product
from support.processes import token_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
SECONDS = amount("SOAK", 75)
PAUSE = 0.2 if IN_THE_SUITE else 0.02
WARM_UP = min(SECONDS / 2, 60)
PRODUCTS = 50
# Not the admin: the hundred-and-first sign-in of a user ends the first one.
SOMEBODY = {"username": "soaker", "password": PASSWORD}


def read(client: Client, n: int) -> Reply:
    product = f"/products/soak-{n % PRODUCTS}"
    return client.ask("GET", (product, "/products?limit=10", f"/products?q=soak{n}", "/products/facets")[n % 4])[0]


def write(client: Client, n: int) -> Reply:
    name = f"soak-{n % PRODUCTS}"
    return client.ask("PUT", f"/products/{name}", a_product(product_id=name, category="soak", stock=n % 1000))[0]


def sign_in(client: Client, _: int) -> Reply:
    time.sleep(50 * PAUSE)
    return client.ask("POST", "/auth", SOMEBODY)[0]


def test_an_instance_does_not_grow(env: dict[str, str], tmp_path: Path):
    instance, done, replies = Instance({**env, "SHOP_LOG_LEVEL": "warning"}, tmp_path), threading.Event(), []
    instance.start()

    def run(client: Client, does) -> None:
        for n in itertools.count():
            if done.is_set():
                return
            replies.append(does(client, n).status)
            time.sleep(PAUSE)

    try:
        with nginx(tmp_path / "nginx", [instance.port] * 3) as front:
            admin = Renewed(front.port, front.url)
            assert admin.ask("POST", "/register", SOMEBODY)[0].status == 201
            for n in range(PRODUCTS):
                assert admin.ask("POST", "/products", a_product(product_id=f"soak-{n}"))[0].status == 201
            clients = [(Client(front.port), read) for _ in range(4)] + [(admin, write), (Client(front.port), sign_in)]
            threads = [threading.Thread(target=run, args=one) for one in clients]
            for thread in threads:
                thread.start()
            samples = []
            time.sleep(WARM_UP)
            for _ in range(20):
                time.sleep((SECONDS - WARM_UP) / 20)
                samples.append((memory(instance.pid), open_files(instance.pid)))
            done.set()
            for thread in threads:
                thread.join()
            for client, _ in clients:
                client.close()
        print(f"\n{len(replies)} requests; MiB and open files: {[(size >> 20, files) for size, files in samples]}")
        assert set(replies) == {200}
        sizes, files = zip(*samples, strict=True)
        # The least of several samples: for a moment, a password that is hashed takes 46 MiB.
        assert min(sizes[-6:]) <= min(sizes[:6]) * 1.05
        assert min(files[-6:]) <= min(files[:6]) + 3
    finally:
        done.set()
        instance.stop()


class Renewed(Client):
    """An admin who signs in again before a token is a quarter of an hour old."""

    def __init__(self, port: int, url: str) -> None:
        self._url = url
        self._until = time.monotonic() + 600
        super().__init__(port, token_of(url, *ADMIN))

    def ask(self, kind, path, body=None, headers=None):
        if time.monotonic() > self._until:
            self._until = time.monotonic() + 600
            self._headers = {"Authorization": f"Bearer {token_of(self._url, *ADMIN)}"}
        return super().ask(kind, path, body, headers)

"""Creations with an `Idempotency-Key` over two instances: replies are lost, and an instance is killed at the worst
moment."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from e2e.conftest import ADMIN
from e2e.scale import amount
from e2e.stack import Instance, nginx
from e2e.traffic import CUT_OFF, Client, Reply
from shop_api.http.idempotency.repository import LEASE
from support.factories import PASSWORD, a_product
from support.faults import Wire
from support.mongo_wire import Fault, MongoWire
from support.patience import PATIENCE
from support.processes import token_of

pytestmark = [pytest.mark.e2e, pytest.mark.long]
KEYED = amount("KEYED", 60)
BETWEEN = 0.1
"""Seconds between two attempts."""
Asked = Future[tuple[Reply, dict[str, Any]]]


@pytest.fixture(scope="module")
def wire(env: dict[str, str]) -> Iterator[MongoWire]:
    wire = MongoWire(int(urlsplit(env["SHOP_MONGO_URL"]).port or 0))
    with wire.open() as wire.port:
        yield wire


@pytest.fixture(scope="module")
def pair(
    env: dict[str, str], wire: MongoWire, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Instance, Instance]]:
    """Two instances, the first of them on the wire."""
    folder = tmp_path_factory.mktemp("keyed")
    on_wire = {**env, "SHOP_MONGO_URL": f"mongodb://127.0.0.1:{wire.port}/?directConnection=true"}
    with ExitStack() as stack:
        instances = Instance(on_wire, folder), Instance(env, folder)
        for instance in instances:
            stack.callback(instance.stop)
            instance.start()
        yield instances


@pytest.fixture(scope="module")
def token(pair: tuple[Instance, Instance]) -> str:
    return token_of(f"http://127.0.0.1:{pair[1].port}", *ADMIN)


@pytest.fixture(scope="module")
def stored(env: dict[str, str]) -> Iterator[Database]:
    with MongoClient[dict](env["SHOP_MONGO_URL"]) as client:
        yield client[env["SHOP_MONGO_DB"]]


def without_id(name: str, category: str) -> dict[str, Any]:
    body = a_product(name=name, category=category)
    del body["product_id"]
    return body


def insist(client: Client, path: str, body: dict[str, Any], key: str) -> tuple[list[Reply], dict[str, Any]]:
    """Sends a creation until it is acknowledged: all that was said, and the last answer."""
    replies: list[Reply] = []
    deadline = time.monotonic() + PATIENCE
    while True:
        reply, answer = client.ask("POST", path, body, {"Idempotency-Key": key})
        replies.append(reply)
        if reply.status == 201:
            return replies, answer
        assert (reply.status, reply.code) in ((CUT_OFF, None), (409, "idempotency_in_progress"))
        assert time.monotonic() < deadline
        time.sleep(BETWEEN)


class TestAnInstanceKilledBetweenTheEffectAndTheStoredAnswer:
    @contextmanager
    def killed(
        self, pair: tuple[Instance, Instance], wire: MongoWire, port: int, token: str, path: str, body: dict[str, Any]
    ) -> Iterator[Asked]:
        """A creation with its name as the key, whose instance has been killed at that moment."""
        first = pair[0]
        wire.add(Fault("held", {"update"}, collection="idempotency_keys", in_transaction=False))
        key = {"Idempotency-Key": str(body.get("name") or body["username"])}
        try:
            with ThreadPoolExecutor() as pool:
                asked = pool.submit(Client(port, token).ask, "POST", path, body, key)
                assert wire.holding.wait(PATIENCE), asked.result(1)
                first.kill()
                yield asked
        finally:
            wire.mend()
            first.kill()
            first.start()

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/products", without_id("given-one", "killed")),
            ("/products", a_product(product_id="killed", name="with-one", category="killed")),
            ("/register", {"username": "killed", "password": PASSWORD}),
        ],
        ids=["made id", "chosen id", "account"],
    )
    def test_is_not_noticed_behind_nginx(self, pair, wire, token, stored, tmp_path: Path, path: str, body):
        ports = pair[0].port, pair[1].port, pair[1].port
        with (
            nginx(tmp_path / "nginx", ports) as front,
            self.killed(pair, wire, front.port, token, path, body) as asked,
        ):
            killed = time.monotonic()
            reply, answer = asked.result(PATIENCE)
            took = time.monotonic() - killed
            control, _ = Client(pair[1].port, token).ask("POST", "/products", without_id("control", "control"))
            assert took < LEASE.total_seconds() / 2 + 5 * control.seconds  # nobody waits for a dead instance
        assert reply.status == 201
        if path == "/register":
            assert [user["_id"] for user in stored["users"].find({"username": "killed"})] == [answer["id"]]
        else:
            assert [product["_id"] for product in stored["products"].find({"name": body["name"]})] == [
                answer["product_id"]
            ]

    def test_is_repaired_when_the_client_sends_it_again(self, pair, wire, token, stored):
        body = without_id("sent-again", "killed")
        with self.killed(pair, wire, pair[0].port, token, "/products", body) as asked:
            assert asked.result(PATIENCE)[0].status == CUT_OFF
            replies, answer = insist(Client(pair[1].port, token), "/products", body, body["name"])
        assert {reply.retry_after for reply in replies[:-1]} == {"1"}
        assert len(replies) <= LEASE.total_seconds() / BETWEEN + 2  # fewer where each takes longer
        assert [product["_id"] for product in stored["products"].find({"name": "sent-again"})] == [
            answer["product_id"]
        ]


class LosesReplies(Wire):
    """Breaks the connection in place of one in ten answers 201."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._created = itertools.count(1)
        self.lost = 0

    def _is_lost(self, data: bytes) -> bool:
        lost = data.startswith(b"HTTP/1.1 201") and next(self._created) % 10 == 0
        self.lost += lost
        return lost


def test_creations_sent_three_times_over_instances_that_lose_replies_happen_once(pair, token, stored, tmp_path: Path):
    with ExitStack() as stack:
        front = stack.enter_context(nginx(tmp_path / "nginx", [pair[0].port, pair[1].port, pair[1].port]))
        wire = LosesReplies(front.port)
        port = stack.enter_context(wire.open())

        def send(numbers: range) -> dict[str, str]:
            """The ids by name, after each name was sent until it was acknowledged."""
            client, names = Client(port, token), [f"keyed-{n}" for n in numbers]
            made = {name: insist(client, "/products", without_id(name, "keyed"), name)[1] for name in names}
            client.close()
            return {name: product["product_id"] for name, product in made.items()}

        with ThreadPoolExecutor() as pool:
            halves = [pool.submit(send, range(start, KEYED, 2)) for start in (0, 1) for _ in range(3)]
        told = [half.result() for half in halves]
    assert told[0] == told[1] == told[2]
    assert told[3] == told[4] == told[5]
    assert {product["name"]: product["_id"] for product in stored["products"].find({"category": "keyed"})} == (
        told[0] | told[3]
    )
    assert stored["products"].count_documents({"category": "keyed"}) == KEYED
    assert wire.lost >= KEYED * 3 // 10

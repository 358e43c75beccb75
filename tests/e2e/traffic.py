"""What clients of a shop do all day, and a record of what they got: reads, and writes that are tried until they are
acknowledged."""

import http.client
import itertools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pymongo.collection import Collection

from e2e.scale import IN_THE_SUITE
from support.factories import a_product
from support.patience import PATIENCE

PAUSE = 0.1 if IN_THE_SUITE else 0.01
CUT_OFF = "cut off"
_CHANGES = 3


class Reply(NamedTuple):
    """What one request got."""

    kind: str
    status: int | str
    code: str | None
    """Of a problem."""
    retry_after: str | None
    started: float
    seconds: float

    @property
    def is_good(self) -> bool:
        return self.status in (200, 201)


class Client:
    """One connection, opened again after it broke."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(
        self, kind: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Reply, Any]:
        """The reply, and its body as far as that is JSON."""
        started = time.monotonic()
        sent = {**self._headers, **(headers or {}), **({"Content-Type": "application/json"} if body else {})}
        try:
            self._connection.request(kind, path, json.dumps(body) if body else None, sent)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return Reply(kind, CUT_OFF, None, None, started, time.monotonic() - started), None
        seconds = time.monotonic() - started
        is_json = "json" in response.headers.get("Content-Type", "")
        answer = json.loads(text) if is_json and text else None
        code = answer.get("code") if isinstance(answer, dict) else None
        return Reply(kind, response.status, code, response.headers["Retry-After"], started, seconds), answer

    def close(self) -> None:
        self._connection.close()


class Traffic:
    """Clients that read and write from the beginning of the block to its end, and what they have been told.

    A writer creates a product with an `Idempotency-Key` and without an id, and then changes it; whatever it sends, it
    sends again until it is acknowledged. So it is known what there has to be in the end.
    """

    def __init__(self, port: int, token: str, *, readers: int = 3, writers: int = 2, pause: float = PAUSE) -> None:
        self._port, self._token, self._pause = port, token, pause
        self._roles: list[tuple[Callable[[int], None], int]] = [
            *((self._read, n) for n in range(readers)),
            *((self._write, n) for n in range(writers)),
            (self._control, 0),
        ]
        self._done = threading.Event()
        self._wrong: list[BaseException] = []
        self.shop = f"traffic-{uuid.uuid4().hex[:8]}"
        self._controls: list[float] = []
        self.replies: list[Reply] = []
        self.acknowledged: dict[str, tuple[int, int]] = {}
        """The stock and the version of each product, by name."""

    def __enter__(self) -> "Traffic":
        self._threads = [threading.Thread(target=self._run, args=role) for role in self._roles]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()
        if self._wrong:
            raise self._wrong[0]

    def _run(self, role: Callable[[int], None], number: int) -> None:
        try:
            role(number)
        except BaseException as error:
            self._wrong.append(error)

    def _read(self, number: int) -> None:
        client = Client(self._port)
        for n in itertools.count(number):
            if self._done.is_set():
                break
            self.replies.append(
                client.ask("GET", ("/products?limit=5", "/products/facets", f"/products?q=n{n}")[n % 3])[0]
            )
            time.sleep(self._pause)
        client.close()

    def _control(self, _: int) -> None:
        """Asks for what needs no engine, whose time is only that of the machine."""
        client = Client(self._port)
        while not self._done.is_set():
            self._controls.append(client.ask("GET", "/health/live")[0].seconds)
            time.sleep(PAUSE)
        client.close()

    def _write(self, number: int) -> None:
        client = Client(self._port, self._token)
        for n in itertools.count():
            if self._done.is_set():
                break
            name = f"{self.shop}-{number}-{n}"
            body = a_product(name=name, category=self.shop, stock=0)
            del body["product_id"]
            made = self._insist(client, "POST", "/products", body, {"Idempotency-Key": name})
            self.acknowledged[name] = (0, made["version"])
            for stock in range(1, _CHANGES + 1):
                self._insist(client, "PUT", f"/products/{made['product_id']}", {**body, "stock": stock})
                self.acknowledged[name] = (stock, made["version"] + stock)
        client.close()

    def _insist(
        self, client: Client, kind: str, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            reply, answer = client.ask(kind, path, body, headers)
            self.replies.append(reply)
            if reply.is_good:
                time.sleep(self._pause)
                return answer
            assert time.monotonic() < deadline, f"{kind} was never acknowledged: {reply}"
            time.sleep(0.1)

    def errors(self, *kinds: str) -> list[Reply]:
        return [reply for reply in self.replies if not reply.is_good and (not kinds or reply.kind in kinds)]

    def slowest(self, *kinds: str) -> float:
        return max(reply.seconds for reply in self.replies if reply.kind in kinds)

    @property
    def machine(self) -> float:
        """Seconds that a request may have taken because the machine was busy: several times those of the slowest one
        that needs no engine, since others have more to do."""
        return 5 * max(self._controls)

    def healthy_after(self, moment: float) -> float:
        """How many seconds after `moment` the last request began that went wrong or took longer than a second, beside
        what the machine may add."""
        bad = (reply.started for reply in self.replies if not reply.is_good or reply.seconds > 1 + self.machine)
        return max(0.0, max(bad, default=moment) - moment)

    def check(self, products: Collection) -> None:
        """No write that was acknowledged is lost, and none happened twice."""
        stored = list(products.find({"category": self.shop}))
        assert Counter(document["name"] for document in stored) == Counter(self.acknowledged.keys())
        assert {d["name"]: (d["stock"], d["version"]) for d in stored} == self.acknowledged


def summary(replies: Iterable[Reply]) -> Counter[tuple[str, int | str, str | None]]:
    """How often each came, for whoever reads why a test failed."""
    return Counter((reply.kind, reply.status, reply.code) for reply in replies)

"""What a request costs beside the same work on the bare driver, in one run; see README.md."""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from shop_api import embedded, mongo
from shop_api.clock import utc_now
from shop_api.dependencies import open_shop
from shop_api.products.models import ProductIn, ProductQuery
from shop_api.products.queries import match
from shop_api.settings import Settings, load

AT_ONCE = 16
SECONDS = 1.5
ROUNDS = 3
PRODUCTS = 2_000

Work = Callable[[int], Awaitable[object]]


async def rate(make_work: Callable[[], Awaitable[Work]]) -> float:
    """How often a second the work is done by AT_ONCE workers, each with a connection of its own."""
    done = 0
    end = time.perf_counter() + SECONDS

    async def worker(number: int) -> None:
        nonlocal done
        work = await make_work()
        count = number
        while time.perf_counter() < end:
            await work(count)
            count += AT_ONCE
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(worker(number) for number in range(AT_ONCE)))
    return done / (time.perf_counter() - started)


class Http:
    """Requests on keep-alive connections, with as little client as possible around them."""

    def __init__(self, url: str, token: str) -> None:
        self._host, self._port = str(urlsplit(url).hostname), int(urlsplit(url).port or 80)
        self._token = token

    def requests(
        self, method: str, path: Callable[[int], str], body: Callable[[int], object] | None = None
    ) -> Callable[[], Awaitable[Work]]:
        """Changes are sent with the token, reads without."""
        sign_in = f"Authorization: Bearer {self._token}\r\n" if body else ""

        async def connect() -> Work:
            reader, writer = await asyncio.open_connection(self._host, self._port)

            async def send(number: int) -> None:
                content = json.dumps(body(number)).encode() if body else b""
                writer.write(
                    f"{method} {path(number)} HTTP/1.1\r\nHost: bench\r\n{sign_in}"
                    f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
                    + content
                )
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                if b" 200 " not in head[:13]:
                    raise RuntimeError(head.decode())

            return send

        return connect


def product_id(number: int) -> str:
    return f"p{number % PRODUCTS}"


def product(number: int, stock: int = 1) -> dict[str, object]:
    return {
        "product_id": product_id(number),
        "name": f"Product {number % PRODUCTS}",
        "description": "Words. " * 40,
        "price": {"amount": number % PRODUCTS, "currency": "EUR"},
        "stock": stock,
        "category": f"category-{number % 20}",
        "tags": [f"tag-{number % 7}", f"tag-{number % 11}"],
    }


async def measure(settings: Settings, url: str, token: str) -> dict[str, tuple[float, float]]:
    async with mongo.open_database(settings.required()[0], settings.mongo_db, settings.mongo_driver) as database:
        products, http = database["products"], Http(url, token)

        def direct(work: Work) -> Callable[[], Awaitable[Work]]:
            async def give() -> Work:
                return work

            return give

        def listed(number: int) -> Awaitable[object]:
            wanted = match(ProductQuery(category=f"category-{number % 20}"))
            return products.find(wanted).sort([("created_at", -1), ("_id", -1)]).limit(21).to_list(None)

        def updated(number: int) -> Awaitable[object]:
            return products.update_one({"_id": product_id(number)}, {"$set": {"stock": 10**6 + number}})

        pairs = {
            "one product": (
                http.requests("GET", lambda n: f"/products/{product_id(n)}"),
                direct(lambda n: products.find_one({"_id": product_id(n)})),
            ),
            "20 of a category": (
                http.requests("GET", lambda n: f"/products?category=category-{n % 20}"),
                direct(listed),
            ),
            "change one": (
                http.requests("PUT", lambda n: f"/products/{product_id(n)}", lambda n: product(n, stock=n)),
                direct(updated),
            ),
        }
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in pairs}
        for number in range(ROUNDS):
            for name, (through_http, through_driver) in pairs.items():
                if number % 2:
                    driver, service = await rate(through_driver), await rate(through_http)
                else:
                    service, driver = await rate(through_http), await rate(through_driver)
                rounds[name].append((service, driver))
        return {
            name: (statistics.median(s for s, _ in found), statistics.median(d for _, d in found))
            for name, found in rounds.items()
        }


async def fill(settings: Settings) -> None:
    async with open_shop(settings) as shop:
        for start in range(0, PRODUCTS, AT_ONCE):
            given = (ProductIn.model_validate(product(n)) for n in range(start, start + AT_ONCE))
            await asyncio.gather(*map(shop.products.add, given))


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        wanted = load(data_dir=Path(folder), rate_limits="off")
        with embedded.running(wanted, lambda line: console.print(line)) as settings:
            console.print(f"adding {PRODUCTS} products")
            asyncio.run(fill(settings))
            results = asyncio.run(_served(settings, Path(folder)))
    table = Table(title=f"{AT_ONCE} at a time, {settings.mongo_driver}, {utc_now():%Y-%m-%d}")
    for title in ("", "service, per second", "bare driver, per second", "ratio"):
        table.add_column(title, justify="right" if title else "left")
    for name, (service, driver) in results.items():
        table.add_row(name, f"{service:,.0f}", f"{driver:,.0f}", f"{service / driver:.2f}")
    console.print(table)


async def _served(settings: Settings, folder: Path) -> dict[str, tuple[float, float]]:
    """The figures of an instance in a process of its own."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from processes import serving, token_of

    with serving(settings, folder, admin=("root", "a long bench password")) as url:
        return await measure(settings, url, token_of(url, "root", "a long bench password"))


if __name__ == "__main__":
    main()

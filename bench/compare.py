"""Measures two checkouts of this service in one run: how fast one is in relation to the other.

    .venv/bin/python bench/compare.py ../before .

Each serves from its own .venv on embedded engines of its own. They take turns, in an order that turns round with each
round, and the ratio is the median of the rounds' ratios: what slows the machine slows both.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import catalogue
import httpx
import load
from contenders import ADMIN, PASSWORD, Server, address, environment
from load import Load

from shop_api.embedded.child import child

_PRODUCTS = 500
_ITEM = f"/products/{catalogue.product_id(1)}"


@dataclass(frozen=True)
class Row:
    """One thing that is measured."""

    name: str
    load: Load
    environment: dict[str, str] = field(default_factory=dict)
    signed_in: bool = False


_COLD = {"SHOP_CACHE": "off"}
_PUBLIC = list(filter(catalogue.is_public, range(_PRODUCTS)))
_ITEMS = [f"/products/{catalogue.product_id(number)}" for number in _PUBLIC]
_REPLACEMENTS = list(map(catalogue.replacement, _PUBLIC))
_JSON = {"Content-Type": "application/json"}
ROWS = (
    Row("hot item", Load([_ITEM], 64)),
    Row("hot list", Load(["/products?limit=20"], 64)),
    Row("cold item, one at a time", Load(_ITEMS, 1), _COLD),
    Row("cold item", Load(_ITEMS, 16), _COLD),
    Row("cold item, PyMongo Async", Load(_ITEMS, 16), _COLD | {"SHOP_MONGO_DRIVER": "pymongo"}),
    Row("cold list", Load(["/products?limit=20"], 16), _COLD),
    Row("GET /users/me", Load(["/users/me"], 16), signed_in=True),
    Row("PUT, one at a time", Load(_REPLACEMENTS, 1, "PUT", _JSON), signed_in=True),
    Row("PUT", Load(_REPLACEMENTS, 16, "PUT", _JSON), signed_in=True),
)


@contextmanager
def serving(checkout: Path, **variables: str) -> Iterator[Server]:
    """The service of `checkout`, with some products."""
    folder = Path(tempfile.mkdtemp(prefix="shop-bench-"))
    own = {"SHOP_PORT": "0", "SHOP_DATA_DIR": str(folder), "SHOP_RATE_LIMITS": "off", "SHOP_LOG_FORMAT": "json"}
    own |= {"SHOP_ADMIN_USERNAME": ADMIN, "SHOP_ADMIN_PASSWORD": PASSWORD, **variables}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        log = folder / "serve.log"
        with environment(inherited | own, replace=True):
            process = stack.enter_context(child([checkout / ".venv" / "bin" / "shop-api", "serve"], log))
        server = Server(address(process, log), process)
        _fill(server)
        yield server


def _fill(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        sign_in = client.post("/auth", json={"username": ADMIN, "password": PASSWORD}).raise_for_status()
        client.headers["Authorization"] = f"Bearer {sign_in.json()['access_token']}"
        for number in _PUBLIC:
            client.post("/products", json=catalogue.product(number)).raise_for_status()


def _token(server: Server, row: Row) -> dict[str, str]:
    if not row.signed_in:
        return {}
    response = httpx.post(f"{server.url}/auth", json={"username": ADMIN, "password": PASSWORD}).raise_for_status()
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


def measured(row: Row, checkouts: Sequence[Path], rounds: int, seconds: float) -> list[list[float]]:
    """Requests per second of each checkout in each round."""
    figures: list[list[float]] = [[] for _ in checkouts]
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(checkout, **row.environment)) for checkout in checkouts]
        loads = [replace(row.load, headers={**row.load.headers, **_token(server, row)}) for server in servers]
        for server, wanted in zip(servers, loads, strict=True):
            load.run(server.url, wanted, 1)
        for number in range(rounds):
            order = range(len(servers)) if number % 2 else reversed(range(len(servers)))
            for index in order:
                figures[index].append(load.run(servers[index].url, loads[index], seconds).value)
                time.sleep(0.1)
    return figures


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout with a .venv")
    parser.add_argument("after", type=Path, help="another one")
    parser.add_argument("--row", default="", help="only the rows with this in their names")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    sys.stdout.write("| row | before, requests/s | after | ratio | lowest and highest |\n|---|---|---|---|---|\n")
    for row in (row for row in ROWS if options.row in row.name):
        checkouts = [options.before.absolute(), options.after.absolute()]
        before, after = measured(row, checkouts, options.rounds, options.seconds)
        ratios = sorted(new / old for old, new in zip(before, after, strict=True))
        medians = f"{statistics.median(before):,.0f} | {statistics.median(after):,.0f}"
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        sys.stdout.write(f"| {row.name} | {medians} | {statistics.median(ratios):.2f} | {spread} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

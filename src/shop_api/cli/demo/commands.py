"""`shop-api demo`: fills a shop with demo data."""

import asyncio
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.progress import track

from shop_api.cli.terminal import engines, fail, say, settings_or_exit
from shop_api.settings import Settings
from shop_api.storage.mongo.client import PyMongoError, brief_message

if TYPE_CHECKING:
    from shop_api.container import Services

_AT_A_TIME = 25
_LINE_EVERY = 100
_PEOPLE = (
    ("demo-admin", "Dana Admin", "admin"),
    ("demo-mia", "Mia Lund", "user"),
    ("demo-noah", "Noah Okoye", "user"),
)


def demo(
    products: Annotated[int, typer.Option(min=1, max=10_000, help="Number of products.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed makes the same products.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Run even if there are products already.")] = False,
) -> None:
    """Fill a new shop with made-up products, two users and an admin. Can run while the service is running.

    With --force, it can run again: it adds missing data and resets changes to its products. The passwords are shown
    once.
    """
    with engines(settings_or_exit(), join=True) as settings:
        try:
            accounts = asyncio.run(_fill(settings, products, seed, force))
        except PyMongoError as error:
            fail(f"MongoDB failed: {brief_message(error)}; run the same command with --force to continue")
    say(f"the shop has {products:,} made-up products; these can sign in:")
    for username, role, password in accounts:
        typer.echo(f"{username:<12} {password or '(the password it had before)'} {role}")


async def _fill(settings: Settings, products: int, seed: int, force: bool) -> list[tuple[str, str, str]]:
    from shop_api.container import open_services

    async with open_services(settings) as services:
        there = await services.products.size()
        if there and not force:
            fail(f"there are {there:,} products already: nothing was done; --force adds the made-up ones to them")
        await _add_products(services, products, seed)
        return [
            (username, role, await _add_person(services, username, name, role)) for username, name, role in _PEOPLE
        ]


async def _add_products(services: "Services", count: int, seed: int) -> None:
    from shop_api.cli.demo.catalogue import product
    from shop_api.cli.operator import operator
    from shop_api.features.products.repository import ProductRepository
    from shop_api.features.products.transfer.importing import Importer
    from shop_api.features.products.transfer.mapping import RowMapping
    from shop_api.features.products.transfer.recording import recorded
    from shop_api.features.products.transfer.results import Rejected
    from shop_api.features.products.transfer.row import Row

    def reject(rejected: Rejected) -> None:
        fail(f"{rejected.product_id}: {rejected.reason}")

    mapping = RowMapping({}, {}, strict=True, typed=True)
    importer = Importer(ProductRepository(services.database), mapping, services.clock, reject)
    async with recorded(importer.result, "demo", services.audit, operator()):
        for numbers in _shown(range(1, count + 1)):
            async for _ in importer.run(iter([Row(number, product(seed, number)) for number in numbers])):
                pass


def _shown(numbers: range) -> Iterator[range]:
    """Yield the numbers in small ranges, showing a bar on a terminal, otherwise a line at times."""
    parts = [numbers[start : start + _AT_A_TIME] for start in range(0, len(numbers), _AT_A_TIME)]
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(parts, "adding products", console=console, transient=True)
        return
    for part in parts:
        yield part
        if part[-1] % _LINE_EVERY == 0:
            say(f"{part[-1]:,} of {len(numbers):,} products")


async def _add_person(services: "Services", username: str, full_name: str, role: str) -> str:
    """Create an account and return its password; empty if the username is taken."""
    from shop_api.cli.operator import operator
    from shop_api.features.users.errors import DuplicateUsername
    from shop_api.features.users.models import Registration
    from shop_api.storage.mongo.attempts import OnlyAttempt

    password = secrets.token_urlsafe(12)
    body = Registration(username=username, password=SecretStr(password), full_name=full_name)
    if role == "admin":
        return password if await services.users.ensure_admin(body, operator()) else ""
    try:
        await services.users.register(body, None, operator(), OnlyAttempt())
    except DuplicateUsername:
        return ""
    return password

"""`shop-api demo`."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from shop_api.mongo import PyMongoError
from shop_api.settings import Settings
from shop_api.terminal import engines, fail, say, settings_or_exit

if TYPE_CHECKING:
    from shop_api.demo.filling import SignIn
    from shop_api.products.models import ProductIn

_FIRST_SEED = 1


def demo(
    products: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed makes the same products.")] = _FIRST_SEED,
    force: Annotated[
        bool, typer.Option("--force", help="Also beside products that are there; they stay as they are.")
    ] = False,
) -> None:
    """Fill a fresh shop with generated products, two users and an admin; also while the service is running."""
    from shop_api.demo import catalogue

    wanted = catalogue.products(seed, products)
    try:
        with engines(settings_or_exit(), join=True) as settings:
            asyncio.run(_fill(settings, wanted, force))
    except PyMongoError as error:
        reason = str(error).partition(" (configured")[0].partition(", full error")[0]
        fail(f"MongoDB failed: {reason}; the same command with --force does the rest")


async def _fill(settings: Settings, wanted: "list[ProductIn]", force: bool) -> None:
    from shop_api.demo import filling
    from shop_api.demo.progress import progress
    from shop_api.shop import open_shop

    async with open_shop(settings) as shop:
        if (there := await shop.products.size()) and not force:
            fail(f"the catalogue has {there:,} products already; --force adds the demo's beside them", 2)
        with progress(len(wanted), say) as show:
            added = await filling.add_products(shop, wanted, show)
        say(f"added {added:,} products" + (f"; {kept:,} were there" if (kept := len(wanted) - added) else ""))
        _show(await filling.add_accounts(shop))


def _show(sign_ins: "list[SignIn]") -> None:
    new = [(one.username, one.password, one.role) for one in sign_ins if one.password is not None]
    for one in sign_ins:
        if one.password is None:
            say(f"{one.username} was there already and keeps the password")
    if new:
        say("these can sign in; the passwords are shown only this once:")
    for username, password, role in new:
        typer.echo(f"{username:<12}{password}  {role}")

"""Puts a demo's products and accounts into a shop, by the same rules as requests do."""

import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import SecretStr

from shop_api.errors import DuplicateProduct, DuplicateUsername
from shop_api.products.models import ProductIn
from shop_api.shop import Shop
from shop_api.users.models import Registration, Role

_ACCOUNTS: Sequence[tuple[str, str, Role]] = (
    ("demo-admin", "Dana Admin", "admin"),
    ("demo-ada", "Ada Byron", "user"),
    ("demo-grace", "Grace Murray", "user"),
)


class SignIn(NamedTuple):
    """Somebody who can sign in; without a password, somebody who was there before, whose password nobody knows."""

    username: str
    role: Role
    password: str | None


async def add_products(shop: Shop, products: Sequence[ProductIn], show: Callable[[int], None]) -> int:
    """Adds those whose id is not taken, telling `show` how many are done; returns how many it has added."""
    added = 0
    for done, product in enumerate(products, 1):
        try:
            await shop.products.add(product)
            added += 1
        except DuplicateProduct:  # of an earlier demo; somebody may have changed it since
            pass
        show(done)
    return added


async def add_accounts(shop: Shop) -> list[SignIn]:
    """An admin and two users, each with a password of their own that is known only now."""
    return [await _account(shop, *account) for account in _ACCOUNTS]


async def _account(shop: Shop, username: str, full_name: str, role: Role) -> SignIn:
    password = secrets.token_urlsafe(12)
    given = Registration(username=username, password=SecretStr(password), full_name=full_name)
    if role == "admin":
        made = await shop.users.ensure_admin(given)
        return SignIn(username, role, password if made else None)
    try:
        await shop.users.register(given, caller=None)
    except DuplicateUsername:
        return SignIn(username, role, None)
    return SignIn(username, role, password)

"""`shop-api check`: verifies the invariants of the stored data."""

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import typer

from shop_api.cli.terminal import engines, fail, say, settings_or_exit
from shop_api.settings import Settings
from shop_api.storage.mongo.client import Database, PyMongoError, brief_message

if TYPE_CHECKING:
    from shop_api.features.feature import Feature

_MAX_SHOWN = 20


class Checked(NamedTuple):
    """An invariant and its violations."""

    name: str
    description: str
    violations: list[str]


async def check_invariants(database: Database, features: "Sequence[Feature]") -> list[Checked]:
    """Evaluate every invariant of `features`. Changes nothing."""
    from shop_api.features.feature import invariants_of

    return [
        Checked(invariant.name, invariant.description, [text async for text in invariant.violations(database)])
        for invariant in invariants_of(features)
    ]


def check() -> None:
    """Verify the invariants of the stored data. Read-only; can run while the service is running.

    Exits with 1 if an invariant is violated.
    """
    with engines(settings_or_exit(), join=True) as settings:
        try:
            results = asyncio.run(_check(settings))
        except PyMongoError as error:
            fail(f"MongoDB failed: {brief_message(error)}")
    for result in results:
        say(f"{'broken' if result.violations else 'ok'}: {result.name}: {result.description}")
        for violation in islice(result.violations, _MAX_SHOWN):
            typer.echo(violation)
        if len(result.violations) > _MAX_SHOWN:
            say(f"and {len(result.violations) - _MAX_SHOWN:,} more")
    if any(result.violations for result in results):
        raise typer.Exit(1)


async def _check(settings: Settings) -> list[Checked]:
    from shop_api.features import FEATURES
    from shop_api.storage.mongo import client as mongo

    async with mongo.open_database(settings.required()[0], settings.mongo_db, settings.mongo_driver) as database:
        return await check_invariants(database, FEATURES)

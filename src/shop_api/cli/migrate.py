"""`shop-api migrate`: migrates the database to the schema of this version."""

import asyncio
from typing import Annotated

import typer

from shop_api.cli.terminal import engines, fail, say, settings_or_exit
from shop_api.settings import Settings
from shop_api.storage.mongo.client import PyMongoError, brief_message


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Only list pending changes; exits with 1 if the service would not start.")
    ] = False,
    background: Annotated[bool, typer.Option("--background", help="Also complete background migrations.")] = False,
) -> None:
    """Migrate the database to the schema of this version: documents, collections, validators, indexes.

    Safe to run concurrently. Can be interrupted at any time; the next run continues.
    """
    with engines(settings_or_exit(), join=True) as settings:
        try:
            refused = asyncio.run(_check(settings) if check else _migrate(settings, background))
        except PyMongoError as error:
            fail(f"MongoDB failed: {brief_message(error)}; run the same command again to continue")
    if refused:
        raise typer.Exit(1)


async def _migrate(settings: Settings, background: bool) -> bool:
    from shop_api.features import FEATURES
    from shop_api.features.feature import schema_of
    from shop_api.storage.mongo import client, migrations
    from shop_api.storage.mongo.instances import new_instance_id

    url, declared = settings.required()[0], schema_of(FEATURES)
    async with client.open_database(url, settings.mongo_db, settings.mongo_driver) as database:
        recorded = await migrations.migrate(database, declared, new_instance_id(), say, background=background)
    left = [f"{feature} {one.number}" for feature, one in recorded.in_background(declared)]
    if left:
        say(f"the serving instances complete {', '.join(left)}")
    say(f"the database {settings.mongo_db} has the newest schema")
    return False


async def _check(settings: Settings) -> bool:
    """Print what `migrate` would do. Return whether the service needs it to start."""
    from shop_api.features import FEATURES
    from shop_api.features.feature import schema_of
    from shop_api.storage.mongo import client, schema

    url, declared = settings.required()[0], schema_of(FEATURES)
    async with client.open_database(url, settings.mongo_db, settings.mongo_driver) as database:
        recorded = await schema.read(database)
        if recorded is None and await schema.is_empty(database):
            say(f"the database {settings.mongo_db} is empty: the first start creates it")
            return False
    recorded = recorded or schema.RecordedSchema("unversioned")
    recorded.check_usable(declared, settings.mongo_db)
    for feature, one in recorded.pending(declared):
        typer.echo(f"{feature} {one.number}: {one.name}{' (in the background)' if one.background else ''}")
    for feature, one in recorded.in_background(declared):
        typer.echo(f"{feature} {one.number}: {one.name} (under way in the background)")
    if not recorded.is_current(declared, strict=True):
        typer.echo("collections, validators and indexes")
    return not recorded.is_current(declared, strict=False)

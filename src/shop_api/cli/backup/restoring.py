"""Replaces the contents of a database by those of a backup."""

from collections.abc import Callable, Sequence

from shop_api.cli.backup import repository
from shop_api.cli.backup.repository import Lines, Restored
from shop_api.features.feature import Feature, schema_of
from shop_api.storage.mongo import instances, leases, migrations, schema
from shop_api.storage.mongo.client import Database, Document


async def restore(
    database: Database, lines: Lines, features: Sequence[Feature], stored: Document | None, say: Callable[[str], None]
) -> Restored:
    """Remove what is in the database, fill it from a backup and migrate it. `stored` is the schema in the backup.

    What a feature does not restore is never written, so an interrupted restore leaves none of it either. No instance
    uses the database until a restore has ended.
    """
    declared = schema_of(features)
    async with leases.held(database, migrations.LEASE, instances.new_instance_id()) as lease:
        await schema.begin_restore(database)
        await repository.clear(database)
        restored = await repository.fill(database, lines(), declared.collections)
        await schema.end_restore(database, stored)
        await migrations.migrate_under(lease, database, declared, say)
    return restored

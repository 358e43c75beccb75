"""Replaces the contents of a database by those of a backup."""

from collections.abc import Callable, Sequence

from shop_api.cli.backup import repository
from shop_api.cli.backup.archive import BadArchive
from shop_api.cli.backup.repository import Lines, Restored, RestoreFailed
from shop_api.features.feature import Feature, collections_of, schema_of
from shop_api.storage.mongo import instances, leases, migrations, schema
from shop_api.storage.mongo.client import Database, Document
from shop_api.storage.mongo.collections import CollectionSpec
from shop_api.storage.mongo.schema import RecordedSchema


async def restore(
    database: Database, lines: Lines, features: Sequence[Feature], stored: Document | None, say: Callable[[str], None]
) -> Restored:
    """Remove what is in the database, fill it from a backup and migrate it. `stored` is the schema in the backup.

    Validators and indexes are there before the documents are, except those of features with a migration to run: their
    documents may have a form that only the migration makes valid, and MongoDB compares them when it has run. Raise
    RestoreFailed, or SchemaError when it compares them, for a document that MongoDB refuses.

    What a feature does not restore is never written, so an interrupted restore leaves none of it either. No instance
    uses the database until a restore has ended.
    """
    declared = schema_of(features)
    async with leases.held(database, migrations.LEASE, instances.new_instance_id()) as lease:
        await schema.begin_restore(database)
        await repository.clear(database)
        await migrations.prepare_for_restore(lease, database, _up_to_date(features, stored), say)
        restored = await _fill(database, lines, declared.collections)
        await schema.end_restore(database, stored)
        await migrations.migrate_under(lease, database, declared, say)
    return restored


def _up_to_date(features: Sequence[Feature], stored: Document | None) -> Sequence[CollectionSpec]:
    """Return the collections of which every document in the backup has the present form."""
    recorded = RecordedSchema.of(stored) if stored else RecordedSchema("unversioned")
    behind = recorded.behind(schema_of(features))
    return collections_of(feature for feature in features if feature.name not in behind)


async def _fill(database: Database, lines: Lines, collections: Sequence[CollectionSpec]) -> Restored:
    try:
        return await repository.fill(database, lines(), collections)
    except BadArchive as error:  # all of it was verified before anything was changed
        raise RestoreFailed(f"the backup was changed while it was restored: {error}") from error

"""What a restore leaves out."""

from collections.abc import Sequence

from shop_api.cli.backup import repository, restoring
from shop_api.features.feature import Feature
from shop_api.storage.mongo import extended_json
from shop_api.storage.mongo.client import Database, Document
from shop_api.storage.mongo.collections import CollectionSpec, not_restored

Line = tuple[str, Document]


def lines(*documents: Line) -> repository.Lines:
    return lambda: iter([f'["{name}",{extended_json.dumps(document)}]'.encode() for name, document in documents])


async def restore(database: Database, source: repository.Lines, features: Sequence[Feature]) -> repository.Restored:
    return await restoring.restore(database, source, features, repository.schema_in(source()), lambda _: None)


async def test_a_feature_says_itself_what_is_not_restored(database: Database):
    def without_secret(document: Document) -> Document:
        return {name: value for name, value in document.items() if name != "secret"}

    mine = Feature(
        name="mine",
        collections=(
            CollectionSpec("codes", on_restore=not_restored),
            CollectionSpec("wallets", on_restore=without_secret),
            CollectionSpec("others"),
        ),
    )
    found = await restore(
        database,
        lines(
            ("codes", {"_id": 1}),
            ("others", {"_id": 1, "secret": 1}),
            ("of a DBA", {"_id": 1, "secret": 1}),
            ("wallets", {"_id": 1, "secret": 1}),
            ("wallets", {"_id": 2, "secret": 1, "a": 1}),
        ),
        [mine],
    )
    assert (found.documents, found.left_out) == (4, {"codes": 1})
    assert await database["codes"].count_documents({}) == 0
    assert await database["wallets"].find({}).sort("_id").to_list(None) == [{"_id": 1}, {"_id": 2, "a": 1}]
    for name in ("others", "of a DBA"):
        assert await database[name].find_one({}) == {"_id": 1, "secret": 1}

"""Throw-away migrations, and a process that runs them: python -m support.migrating URL DATABASE (migrate | serve).

A batch waits while there is a gate, so that a test can kill the process half-way.
"""

import asyncio
import os
import sys
from typing import Any

from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.client import Database
from shop_api.storage.mongo.collections import CollectionSpec
from shop_api.storage.mongo.migrations import migrate, run_in_background
from shop_api.storage.mongo.schema import DeclaredSchema, Migration

THINGS = CollectionSpec("things")
DOCUMENTS = 50
BATCH = 10


async def fill(database: Database) -> None:
    """Things of the old form, as an earlier version would have left them."""
    await database["things"].insert_many([{"_id": n, "form": 1} for n in range(DOCUMENTS)])


async def upgrade(database: Database, position: Any) -> Any:
    """Give the next things their new form. Who did it, and from where, is kept for the test."""
    start = -1 if position is None else position
    ids = [one["_id"] async for one in database["things"].find({"_id": {"$gt": start}}).sort("_id", 1).limit(BATCH)]
    await database["calls"].insert_one({"pid": os.getpid(), "position": position})
    while (gate := await database["gates"].find_one({"_id": "gate"})) and start + 1 >= gate["at"]:
        await asyncio.sleep(0.02)
    if not ids:
        return None
    await database["things"].update_many(
        {"_id": {"$in": ids}, "form": 1}, {"$set": {"form": 2}, "$inc": {"changed": 1}}
    )
    return ids[-1]


def declared(*, background: bool) -> DeclaredSchema:
    return DeclaredSchema([THINGS], {"things": [Migration(1, "give things their new form", upgrade, background)]})


async def main(url: str, name: str, what: str) -> None:
    holder = f"pid {os.getpid()}"
    async with mongo.open_database(url, name, "pymongo") as database:
        print("ready", flush=True)
        if what == "migrate":
            await migrate(database, declared(background=False), holder, lambda _: None)
        else:
            await run_in_background(database, declared(background=True), holder)
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

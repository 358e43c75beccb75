"""The bare driver, in a process of its own: `python driver.py` reads what to do from standard input as JSON, does it
and writes the figures as JSON.

It runs on uvloop with the options of the service's own client, and finds are serialised, since an answer would have
to be.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pymongo
import uvloop

from shop_api.features.products.repository import PRODUCTS
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo.collections import ensure_collection

_AT_A_TIME = 1_000
_NEW_NUMBERS = count(time.time_ns() // 1_000_000)

Work = Callable[[int], Awaitable[object]]


def _find(database: mongo.Database, wanted: dict[str, Any]) -> Work:
    products, filters = database["products"], wanted["filters"]

    async def find(number: int) -> bytes:
        category, least = filters[number % len(filters)]
        match = {"status": "active", "category": category, "price.amount": {"$gte": least}}
        found = await products.find(match).sort([("price.amount", 1), ("_id", 1)]).limit(21).to_list(None)
        return json.dumps(found, default=str).encode()

    return find


def _find_one(database: mongo.Database, wanted: dict[str, Any]) -> Work:
    products, ids = database["products"], wanted["ids"]

    async def find_one(number: int) -> bytes:
        return json.dumps(await products.find_one({"_id": ids[number % len(ids)]}), default=str).encode()

    return find_one


def _update(database: mongo.Database, wanted: dict[str, Any]) -> Work:
    """Sets all of a product, as PUT does, with a stock that it has never had."""
    products, documents = database["products"], wanted["documents"]

    async def update(number: int) -> object:
        document = documents[number % len(documents)]
        fields = {**document["fields"], "stock": next(_NEW_NUMBERS)}
        return await products.update_one({"_id": document["_id"]}, {"$set": fields, "$inc": {"version": 1}})

    return update


_WORK = {"find": _find, "find_one": _find_one, "update": _update}


async def _rate(work: Work, at_once: int, seconds: float) -> dict[str, float]:
    """How often a second the work is done by `at_once` workers."""
    times: list[float] = []
    started = time.perf_counter()

    async def worker(number: int) -> None:
        while (before := time.perf_counter()) < started + seconds:
            await work(number)
            number += at_once
            times.append(time.perf_counter() - before)

    await asyncio.gather(*(worker(number) for number in range(at_once)))
    took = time.perf_counter() - started
    times.sort()
    middle, high = times[len(times) // 2], times[len(times) * 99 // 100]
    return {"value": len(times) / took, "p50_ms": middle * 1e3, "p99_ms": high * 1e3, "requests": len(times)}


async def _insert(database: mongo.Database, source: mongo.Database, most: int) -> dict[str, float]:
    """Inserts what `source` holds into a collection with the same validator and indexes."""
    documents = await source["products"].find({}).limit(most).to_list(None)
    await ensure_collection(database, PRODUCTS)
    started = time.perf_counter()
    with pymongo.timeout(600):
        for start in range(0, len(documents), _AT_A_TIME):
            await database["products"].insert_many(documents[start : start + _AT_A_TIME], ordered=False)
    return {"value": len(documents) / (time.perf_counter() - started), "requests": len(documents)}


async def main() -> None:
    wanted = json.load(sys.stdin)
    async with mongo.open_database(wanted["url"], wanted["database"], wanted["driver"]) as database:
        if wanted["work"] == "insert":
            source = database.client[wanted["source"]]
            figures = await _insert(database, source, wanted["most"])
        else:
            work = _WORK[wanted["work"]](database, wanted)
            figures = await _rate(work, wanted["at_once"], wanted["seconds"])
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    uvloop.run(main())

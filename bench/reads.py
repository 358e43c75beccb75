"""The scenarios that read the catalogue."""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

import catalogue
import httpx
import load
from contenders import GTHREAD, Server
from load import Load, Sample
from measuring import Bench, Measure, Unseen, scenario

_HOT, _COLD, _HEAVY = 64, 16, 4
"""Connections."""
_MEMORY, _REDIS, _FILLED = "200 …hit; detail=memory", "200 …hit; detail=redis", "200 …stored"
_OFF = {"SHOP_CACHE": "off"}
_PYMONGO = {"SHOP_MONGO_DRIVER": "pymongo"}
_HOT_LIST = "/products?" + urlencode({"category": catalogue.CATEGORIES[4], "sort": "price"})


@scenario("hot-item", "The same product again and again")
def hot_item(at: Bench) -> Mapping[str, Measure]:
    service, path = at.start(at.contenders.service()), f"/products/{at.ids[0]}"
    wanted = Load([path], _HOT)
    bare = at.start(at.contenders.bare(service, {path: (path, {})}))
    original, eve = at.start(at.contenders.original()), at.start(at.contenders.eve())
    threaded = at.start(at.contenders.original(*GTHREAD))
    without_redis = at.start(at.contenders.service(SHOP_REDIS_URL="redis://127.0.0.1:1/0"))
    return {
        "bare ASGI": at.rate("bare ASGI", bare, wanted),
        "service": at.rate("service", service, wanted, _MEMORY),
        "service, no Redis": at.rate("service, no Redis", without_redis, wanted, _MEMORY),
        "original": at.rate("original", original, wanted),
        "original, gthread": at.rate("original, gthread", threaded, wanted),
        "Eve": at.rate("Eve", eve, wanted),
    }


@scenario("hot-list", "The same list of 20, with a filter and a sort, again and again")
def hot_list(at: Bench) -> Mapping[str, Measure]:
    service = at.start(at.contenders.service())
    bare = at.start(at.contenders.bare(service, {_HOT_LIST: (_HOT_LIST, {})}))
    original, eve = at.start(at.contenders.original()), at.start(at.contenders.eve())
    filters = [(catalogue.CATEGORIES[4], 0)]
    return {
        "bare ASGI": at.rate("bare ASGI", bare, Load([_HOT_LIST], _HOT)),
        "service": at.rate("service", service, Load([_HOT_LIST], _HOT), _MEMORY),
        "original": at.rate("original", original, Load(_original_lists(filters), _HOT)),
        "Eve": at.rate("Eve", eve, Load(_eve_lists(filters), _COLD)),
    }


@scenario("not-modified", "304: the same product by a client that has it already")
def not_modified(at: Bench) -> Mapping[str, Measure]:
    service, path = at.start(at.contenders.service()), f"/products/{at.ids[0]}"
    known = {"If-None-Match": httpx.get(service.url + path).headers["ETag"]}
    bare = at.start(at.contenders.bare(service, {path: (path, known)}))
    wanted = Load([path], _HOT, headers=known)
    return {
        "bare ASGI": at.rate("bare ASGI", bare, wanted, "304 "),
        "service": at.rate("service", service, wanted, "304 …hit; detail=memory"),
    }


@scenario("redis-hit", "Products that Redis holds and the process does not", least=20_000)
def redis_hit(at: Bench) -> Mapping[str, Measure]:
    """So many products in turn that each is asked for again only after its second in memory is over."""
    paths = [f"/products/{id_}" for id_ in at.ids[:15_000]]
    service, original = at.start(at.contenders.service()), at.start(at.contenders.original())
    wanted = Load(paths, _HOT)
    for server in (service, service, original):  # ours stores what is asked for a second time
        _ask_for_all(at, server, paths)
    measure = at.rate("service", service, wanted, _REDIS)

    def slow_enough(number: int) -> Sample:
        sample = measure(number)
        if sample.value * 1.1 > len(paths):
            at.notes.append("service: so fast that a product may still have been in memory")
        return sample

    return {"service": slow_enough, "original": at.rate("original", original, wanted)}


def _ask_for_all(at: Bench, server: Server, paths: Sequence[str]) -> None:
    sent = 0
    while sent < len(paths):
        sent += load.run(server.url, Load([*paths[sent:], *paths[:sent]], _COLD), 5).requests


@scenario("cold-item", "Another product each time", each_size=True)
def cold_item(at: Bench) -> Mapping[str, Measure]:
    """Without the cache also in a catalogue so small that each product comes again within its second."""
    start, use = at.start, at.contenders
    paths = [f"/products/{id_}" for id_ in at.ids]
    wanted = Load(paths[:100_000], _COLD)
    driver = {"at_once": _COLD, "seconds": at.seconds, "ids": list(at.ids[:50_000])}
    measures: dict[str, Measure] = {
        "service, cache off": at.rate("service, cache off", start(use.service(**_OFF)), wanted),
        "service, PyMongo Async, cache off": at.rate(
            "service, PyMongo Async, cache off", start(use.service(**_OFF, **_PYMONGO)), wanted
        ),
        "original, uncached": at.rate("original, uncached", start(use.original(cache=False)), wanted),
        "original, uncached, gthread": at.rate(
            "original, uncached, gthread", start(use.original(*GTHREAD, cache=False)), wanted
        ),
        "Eve": at.rate("Eve", start(use.eve()), wanted),
        "Eve, gthread": at.rate("Eve, gthread", start(use.eve(*GTHREAD)), wanted),
        "driver, Motor": lambda _: use.driver("find_one", driver="motor", **driver),
        "driver, PyMongo Async": lambda _: use.driver("find_one", driver="pymongo", **driver),
    }
    if at.size < 50_000:
        return measures
    ours, theirs = Unseen(paths), Unseen(paths)
    return {
        "service": _of_unseen(at, "service", start(use.service()), ours, _FILLED),
        "service, PyMongo Async": _of_unseen(
            at, "service, PyMongo Async", start(use.service(**_PYMONGO)), ours, _FILLED
        ),
        "original, cache miss": _of_unseen(at, "original, cache miss", start(use.original()), theirs, "200 "),
        **measures,
    }


def _of_unseen(at: Bench, name: str, server: Server, unseen: Unseen, by: str) -> Measure:
    """Requests per second of what no cache can hold yet."""
    unseen.used += at.check(name, server, unseen.load(connections=_COLD), by)

    def measure(_: int) -> Sample:
        sample = load.run(server.url, unseen.load(connections=_COLD), at.seconds)
        unseen.used += sample.requests
        if unseen.exhausted:
            at.notes.append(f"{name}: the catalogue is too small, some products were asked for twice")
        return sample

    return measure


@scenario("cold-list", "Another list of 20 each time, with a filter and a sort", each_size=True)
def cold_list(at: Bench) -> Mapping[str, Measure]:
    start, use = at.start, at.contenders
    filters = [(category, least) for category, least in catalogue.list_filters() if _fits(at.size, least)]
    ours, some = _our_lists(filters), filters[:20_000]
    original, eve = _original_lists(some), _eve_lists(some)
    cold = Load(ours[:20_000], _COLD)
    driver = {"at_once": _COLD, "seconds": at.seconds, "filters": some}
    service_off, service = start(use.service(**_OFF)), start(use.service())
    pymongo_off = start(use.service(**_OFF, **_PYMONGO))
    return {
        "service": _of_unseen(at, "service", service, Unseen(ours), _FILLED),
        "service, cache off": at.rate("service, cache off", service_off, cold),
        "driver, Motor": lambda _: use.driver("find", driver="motor", **driver),
        "service, PyMongo Async, cache off": at.rate("service, PyMongo Async, cache off", pymongo_off, cold),
        "driver, PyMongo Async": lambda _: use.driver("find", driver="pymongo", **driver),
        "original, uncached": at.rate("original, uncached", start(use.original(cache=False)), Load(original, _COLD)),
        "Eve": at.rate("Eve", start(use.eve()), Load(eve, _COLD)),
    }


def _fits(size: int, least: int) -> bool:
    """Whether there is a page left above that price in a catalogue of that size; in a small one there is none."""
    return least < 1_000 or size > 10_000


def _our_lists(filters: Sequence[tuple[str, int]]) -> list[str]:
    return [f"/products?category={category}&min_price={least}&sort=price&limit=20" for category, least in filters]


def _original_lists(filters: Sequence[tuple[str, int]]) -> list[str]:
    return [f"/products?category={category}&min_price={least}" for category, least in filters]


def _eve_lists(filters: Sequence[tuple[str, int]]) -> list[str]:
    return [
        "/products?where="
        + quote(json.dumps({"status": "active", "category": category, "price.amount": {"$gte": least}}))
        + "&sort=price.amount,_id&max_results=20"
        for category, least in filters
    ]


@scenario("deep-page", "Page 1 and page 1,000 of one long list, by price", each_size=True, least=1_000)
def deep_page(at: Bench) -> Mapping[str, Measure]:
    """The largest category, which a fifth of all products belong to; in a small catalogue its last full page."""
    server = at.start(at.contenders.service(**_OFF))
    first = f"/products?category={catalogue.CATEGORIES[0]}&sort=price&limit=20"
    deep, pages = _deepest(server, first.replace("limit=20", "limit=100"))
    at.notes.append(f"the deep page is page {pages:,}")
    return {
        "page 1": at.rate("page 1", server, Load([first], _HEAVY)),
        "deep page": at.rate("deep page", server, Load([f"{first}&cursor={deep}"], _HEAVY)),
    }


def _deepest(server: Server, path: str) -> tuple[str, int]:
    """The cursor of page 1,000 of 20, or of the last one that is sure to be full, and its number. It is reached by
    pages of 100, which cursors allow."""
    cursor, items, before = None, 0, ("", 0)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        while items + 100 < 20_000:
            page = client.get(path + (f"&cursor={cursor}" if cursor else "")).raise_for_status().json()
            items += len(page["items"])
            if page["next_cursor"] is None:
                return before
            before = (cursor or "", (items - len(page["items"])) // 20 + 1)
            cursor = page["next_cursor"]
        last = path.replace("limit=100", "limit=80")
        page = client.get(f"{last}&cursor={cursor}").raise_for_status().json()
    return str(page["next_cursor"]), (items + 80) // 20 + 1

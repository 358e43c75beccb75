"""The scenarios with users in them: reads with a token, sign-ins, changes."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from statistics import quantiles
from urllib.parse import urlsplit

import catalogue
import load
from contenders import ADMIN, GTHREAD, PASSWORD, Server
from load import Load, Sample
from measuring import Bench, Measure, scenario
from pymongo import MongoClient

_AT_ONCE = 16
_SIGN_INS = 200
_GETS_PER_SECOND = 200
_JSON = {"Content-Type": "application/json"}


def _signed_in(at: Bench, server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {at.contenders.token(server)}"}


@scenario("token", "A product with and without a token")
def with_token(at: Bench) -> Mapping[str, Measure]:
    """From the database on both sides: with the cache a token and `no-cache` do that, without it every read does."""
    cached, uncached = at.start(at.contenders.service()), at.start(at.contenders.service(SHOP_CACHE="off"))
    token, paths = _signed_in(at, cached), [f"/products/{id_}" for id_ in at.ids[:20_000]]
    fresh = {**token, "Cache-Control": "no-cache"}
    hot = paths[:1]

    def rate(name: str, server: Server, requests: list[str], headers: dict[str, str], by: str = "200 ") -> Measure:
        return at.rate(name, server, Load(requests, _AT_ONCE, headers=headers), by)

    return {
        "without, cache off": rate("without, cache off", uncached, paths, {}),
        "token, cache off": rate("token, cache off", uncached, paths, token),
        "token and no-cache": rate("token and no-cache", cached, paths, fresh, "200 …fwd=request; stored"),
        "GET /users/me": rate("GET /users/me", cached, ["/users/me"], token),
        "hot, without": rate("hot, without", cached, hot, {}, "200 …hit; detail=memory"),
        "hot, token": rate("hot, token", cached, hot, token, "200 …hit; detail=memory"),
    }


def _sign_in() -> Load:
    body = json.dumps({"username": ADMIN, "password": PASSWORD})
    return Load([f"/auth\t{body}"], _AT_ONCE, "POST", _JSON)


@scenario("sign-in", "POST /auth with the right password")
def sign_in(at: Bench) -> Mapping[str, Measure]:
    service, original = at.start(at.contenders.service()), at.start(at.contenders.original())

    def slow(server: Server) -> Measure:
        return lambda _: load.run(server.url, _sign_in(), max(5.0, at.seconds))

    threaded = at.start(at.contenders.original(*GTHREAD))
    return {"service": slow(service), "original": slow(original), "original, gthread": slow(threaded)}


@scenario("put", "A product replaced, durably, by 16 at a time", each_size=True)
def put(at: Bench) -> Mapping[str, Measure]:
    """Each contender runs alone: an instance with a cache follows every change, also those of others."""
    use, some = at.contenders, range(min(at.size, 2_000))
    lines = list(map(catalogue.replacement, some))
    driver = {"at_once": _AT_ONCE, "seconds": at.seconds, "documents": _stored(at, some)}

    def alone(starting: Callable[[], AbstractContextManager[Server]]) -> Measure:
        def measure(_: int) -> Sample:
            with starting() as server:
                headers = _JSON | _signed_in(at, server)
                return load.run(server.url, Load(lines, _AT_ONCE, "PUT", headers), at.seconds)

        return measure

    return {
        "service": alone(use.service),
        "driver, Motor": lambda _: use.driver("update", driver="motor", **driver),
        "service, cache off": alone(lambda: use.service(SHOP_CACHE="off")),
        "service, PyMongo Async": alone(lambda: use.service(SHOP_MONGO_DRIVER="pymongo")),
        "driver, PyMongo Async": lambda _: use.driver("update", driver="pymongo", **driver),
        "original": alone(use.original),
        "original, gthread": alone(lambda: use.original(*GTHREAD)),
    }


def _stored(at: Bench, some: Sequence[int]) -> list[dict[str, object]]:
    """What PUT sets, from documents as they are stored."""
    settings = at.contenders.settings
    not_set = {"_id": 0, "version": 0, "created_at": 0, "updated_at": 0}
    with MongoClient[dict[str, object]](settings.required()[0]) as client:
        products = client[settings.mongo_db]["products"]
        ids = [catalogue.product_id(number) for number in some]
        return [{"_id": id_, "fields": products.find_one({"_id": id_}, not_set)} for id_ in ids]


@scenario("busy", "GETs of one product while 200 sign-ins are under way: the slowest hundredth", "ms (p99)")
def while_signing_in(at: Bench) -> Mapping[str, Measure]:
    """A steady 200 GETs a second, each timed from when it was due, so that a stall counts for all that it held up."""
    service, original = at.start(at.contenders.service()), at.start(at.contenders.original(*GTHREAD))
    path, seconds = f"/products/{at.ids[0]}", max(5.0, at.seconds)

    def alone(server: Server) -> Measure:
        return lambda _: _sample(asyncio.run(_paced(server.url, path, seconds)))

    def busy(server: Server) -> Measure:
        sign_in = _sign_in()
        many = Load(sign_in.requests, _SIGN_INS, sign_in.method, sign_in.headers)

        def measure(_: int) -> Sample:
            with ThreadPoolExecutor(1) as pool:
                sign_ins = pool.submit(load.run, server.url, many, seconds + 1)
                time.sleep(0.5)
                sample = _sample(asyncio.run(_paced(server.url, path, seconds)))
                sign_ins.result()
            return sample

        return measure

    return {
        "service, alone": alone(service),
        "service, with sign-ins": busy(service),
        "original, gthread, alone": alone(original),
        "original, gthread, with sign-ins": busy(original),
    }


def _sample(times: list[float]) -> Sample:
    cuts = quantiles(times, n=100)
    return Sample(cuts[98] * 1e3, cuts[49] * 1e3, cuts[98] * 1e3, len(times))


async def _paced(url: str, path: str, seconds: float, connections: int = 4) -> list[float]:
    host, port = str(urlsplit(url).hostname), int(urlsplit(url).port or 80)
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
    times: list[float] = []
    start, step = time.perf_counter() + 0.05, connections / _GETS_PER_SECOND

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        due = start + number * step / connections
        while max(due, time.perf_counter()) < start + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if reader.at_eof():  # gunicorn's sync worker closes after each answer
                writer.close()
                reader, writer = await asyncio.open_connection(host, port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
            times.append(time.perf_counter() - due)
            if b" 200 " not in head[:13]:
                raise load.LoadError(head.decode())
            due += step
            if b"connection: close" in head.lower():
                await reader.read()
        writer.close()

    await asyncio.gather(*map(client, range(connections)))
    return times

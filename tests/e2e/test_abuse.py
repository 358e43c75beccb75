"""Each way to abuse accounts, beside people who want to sign in.

The control is as many harmless requests.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from pymongo import MongoClient

from e2e.scale import amount
from e2e.stack import Instance
from shop_api.kernel import tasks
from shop_api.kernel.clock import utc_now
from shop_api.security.sign_in_delays import ACCOUNT
from shop_api.security.tokens import AccessTokens
from support.factories import PASSWORD, TEST_SECRET, a_user
from support.patience import PATIENCE

pytestmark = [pytest.mark.e2e, pytest.mark.campaign]

SECONDS = amount("ABUSE_SECONDS", 2)
LONGEST = 2.0
"""Seconds that a sign-in may take longer beside the abuse than beside the control."""
OWNER, SHOPPERS, ACCOUNTS = "owner-under-attack", 40, 12
"""The account that is attacked, those of other people, and those that the abuser has."""
VICTIM = "victim@shop.example"

Call = Callable[[httpx.AsyncClient, int], Awaitable[httpx.Response]]


def from_address(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


def network(n: int) -> dict[str, str]:
    """One of 200 that belong to the abuser."""
    return from_address(f"10.66.{n % 200}.1")


async def guess(client: httpx.AsyncClient, n: int) -> httpx.Response:
    return await client.post("/auth", json={"username": OWNER, "password": f"guess {n}"}, headers=network(n))


async def spray(client: httpx.AsyncClient, n: int) -> httpx.Response:
    body = {"username": f"shopper-{n % SHOPPERS}", "password": "Password-2026"}
    return await client.post("/auth", json=body, headers=network(n))


async def change_passwords(client: httpx.AsyncClient, n: int) -> httpx.Response:
    body = {"current_password": PASSWORD, "new_password": PASSWORD}
    return await client.put("/users/me/password", json=body, headers={**network(n % ACCOUNTS), **token(n % ACCOUNTS)})


async def ask_for_mail(client: httpx.AsyncClient, n: int) -> httpx.Response:
    return await client.post("/auth/password/reset", json={"email": VICTIM}, headers=network(n))


async def register(client: httpx.AsyncClient, n: int) -> httpx.Response:
    body = {"username": f"made-{time.time_ns()}", "password": PASSWORD}
    return await client.post("/register", json=body, headers=network(n))


async def fill_the_cache(client: httpx.AsyncClient, n: int) -> httpx.Response:
    return await client.get(f"/products?q=fill{n // 2}&limit=100", headers=network(n))


async def read(client: httpx.AsyncClient, n: int) -> httpx.Response:
    return await client.get("/products?limit=1", headers=network(n))


class Abuse(NamedTuple):
    call: Call
    per_second: int
    clients: int = 8


ABUSES = {
    "a thousand guesses a minute from 200 networks": Abuse(guess, 17),
    "common passwords tried on many accounts": Abuse(spray, 17),
    "twelve accounts that change their passwords": Abuse(change_passwords, 40, clients=ACCOUNTS),
    "resets for the address of a victim": Abuse(ask_for_mail, 40),
    "registrations": Abuse(register, 20),
    "reads that fill the cache": Abuse(fill_the_cache, 40),
}


@pytest.fixture(scope="module")
def url(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An instance with its limits, behind a proxy that names the addresses of clients."""
    limited = {**env, "SHOP_RATE_LIMITS": "on", "SHOP_TRUSTED_PROXIES": "127.0.0.1"}
    folder: Path = tmp_path_factory.mktemp("abused")
    instance = Instance(limited, folder)
    instance.start()
    people = [a_user(OWNER, email=VICTIM, email_verified=True, sessions=[])]
    people += [a_user(f"shopper-{n}", sessions=[]) for n in range(SHOPPERS)]
    people += [a_user(f"abuser-{n}", id=f"abuser-{n}", sessions=[f"abusers-{n}"]) for n in range(ACCOUNTS)]
    with MongoClient[dict](env["SHOP_MONGO_URL"]) as mongo:
        for person in people:
            document = person.model_dump()
            document |= {"_id": document.pop("id"), "email_key": person.email}
            mongo[env["SHOP_MONGO_DB"]]["users"].insert_one(document)
    yield f"http://127.0.0.1:{instance.port}"
    instance.stop()


def token(n: int) -> dict[str, str]:
    """Of one of the abuser's own accounts."""
    tokens = AccessTokens(TEST_SECRET.encode(), utc_now)
    return {"Authorization": f"Bearer {tokens.issue(f'abuser-{n}', f'abusers-{n}')}"}


_numbers = itertools.count()


class Abusers:
    def __init__(self, url: str, call: Call, abuse: Abuse) -> None:
        self._url, self._call, self._abuse = url, call, abuse
        self.statuses: dict[int, int] = {}

    async def run(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as client:
            under_way = [asyncio.create_task(self._client(client)) for _ in range(self._abuse.clients)]
            await asyncio.sleep(SECONDS)
            async with asyncio.timeout(PATIENCE):  # on a busy machine, until each could do something
                while sum(self.statuses.values()) < self._abuse.clients:
                    await asyncio.sleep(0.1)
            await tasks.end(under_way)

    async def _client(self, client: httpx.AsyncClient) -> None:
        pace = self._abuse.clients / self._abuse.per_second
        while True:
            started = time.monotonic()
            status = (await self._call(client, next(_numbers))).status_code
            self.statuses[status] = self.statuses.get(status, 0) + 1
            await asyncio.sleep(max(0.0, started + pace - time.monotonic()))


async def sign_ins_beside(abusers: Abusers, url: str) -> list[tuple[int, float]]:
    """The status and duration of sign-ins of the owner and of others, each from an address never seen before."""
    outcomes = []
    under_way = asyncio.create_task(abusers.run())
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        while not under_way.done():
            n = next(_numbers)
            body = {"username": OWNER if n % 2 else f"shopper-{n % SHOPPERS}", "password": PASSWORD}
            started = time.monotonic()
            where = from_address(f"172.{16 + n // 65536 % 16}.{n // 256 % 256}.{n % 256}")
            response = await client.post("/auth", json=body, headers=where)
            outcomes.append((response.status_code, time.monotonic() - started))
            await asyncio.sleep(0.2)
    await under_way
    return outcomes


@pytest.mark.parametrize("name", ABUSES)
async def test_people_sign_in_as_ever(url: str, name: str):
    abuse = ABUSES[name]
    control, abusers = Abusers(url, read, abuse), Abusers(url, abuse.call, abuse)
    expected, found = [await sign_ins_beside(each, url) for each in (control, abusers)]
    slowest, before = max(seconds for _, seconds in found), max(seconds for _, seconds in expected)
    print(
        f"\n{name}: {abusers.statuses}; {len(found)} sign-ins, the slowest took {slowest:.2f} s, "
        f"{before:.2f} s beside {control.statuses}"
    )
    assert sum(abusers.statuses.values()) >= abuse.clients
    assert {status for status, _ in (*expected, *found)} == {200}
    if SECONDS >= 30:  # a single sign-in of a few may be slow on a busy machine
        assert slowest <= before + LONGEST
        if abuse.call is guess:
            assert 200 < abusers.statuses[401] + ACCOUNT.free < 500  # nearly every network had one attempt

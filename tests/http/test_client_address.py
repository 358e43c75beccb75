"""The address of a client, by which limits and delays are counted."""

import httpx
import pytest
from fastapi import Request

from conftest import running_app
from shop_api.http.dependencies import client_address
from shop_api.kernel.errors import UnknownClient
from support.delays import FREE, MOST, before_a_delay
from support.factories import PASSWORD


def request_from(host: str | None) -> Request:
    return Request({"type": "http", "client": None if host is None else (host, 1)})


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "192.0.2.1"),
        ("64:ff9b::c000:201", "192.0.2.1"),
        ("64:ff9b:1::c000:201", "64:ff9b:1::/64"),
    ],
)
async def test_is_ipv4_or_a_network_of_ipv6(peer, address):
    assert await client_address(request_from(peer)) == address


@pytest.fixture
async def behind_a_proxy(engines, app):
    async with running_app(engines.model_copy(update={"trusted_proxies": ["127.0.0.1"], "rate_limits": "on"})) as app:
        yield app


async def sign_in(app, forwarded: str) -> httpx.Response:
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    headers = {"X-Forwarded-For": forwarded}
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as http:
        return await http.post("/auth", json={"username": "ada", "password": PASSWORD}, headers=headers)


@pytest.mark.parametrize("invented", ["unknown", "_hidden", "a" * 500, "192.0.2.300", "1", "192.0.2.0/24"])
async def test_what_is_none_is_refused(behind_a_proxy, invented):
    answer = await sign_in(behind_a_proxy, invented)
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_client")


async def test_different_spellings_of_one_address_are_one_client(behind_a_proxy):
    spellings = ["192.0.2.7", "::ffff:192.0.2.7", "64:ff9b::c000:207"]

    async def attempt(n):
        return (await sign_in(behind_a_proxy, spellings[n % 3])).status_code

    statuses = await before_a_delay(attempt)
    assert set(statuses) == {401}
    assert FREE <= len(statuses) <= MOST


async def test_a_connection_without_an_address_is_refused():
    with pytest.raises(UnknownClient):
        await client_address(request_from(None))

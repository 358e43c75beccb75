"""A request that took effect, but whose instance died before it stored the answer, is answered as the first time."""

import asyncio

import httpx
import pytest

from shop_api.http.idempotency.repository import LEASE, IdempotencyKeys
from shop_api.storage.mongo.client import PyMongoError
from support.factories import PASSWORD, a_product

KEY = {"Idempotency-Key": "k"}
CHOSEN = a_product(product_id="chosen")
GENERATED = {name: value for name, value in CHOSEN.items() if name != "product_id"}
ACCOUNT = {"username": "newcomer", "password": PASSWORD, "email": "n@shop.example", "full_name": "New Comer"}
REQUESTS = {
    "chosen id": ("/products", CHOSEN),
    "generated id": ("/products", GENERATED),
    "account": ("/register", ACCOUNT),
}


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch):
    """`with dies():` each answer is lost before it is stored."""

    async def lose(*_):
        raise PyMongoError("the instance died")

    def arrange():
        context = pytest.MonkeyPatch.context()
        patch = context.__enter__()
        patch.setattr(IdempotencyKeys, "store", lose)
        return context

    return arrange


@pytest.fixture
async def resource(admin, shop, dies, request):
    """The path of a resource that a keyed request has made, and the request. Its answer was lost."""
    path, body = REQUESTS[request.param]
    context = dies()
    assert (await admin.post(path, json=body, headers=KEY)).status_code >= 500
    context.__exit__(None, None, None)
    if path == "/register":
        return "/users/newcomer", path, body
    [product] = [document async for document in shop.database["products"].find()]
    return f"/products/{product['_id']}", path, body


@pytest.mark.parametrize("resource", REQUESTS, indirect=True)
@pytest.mark.parametrize("since", ["nothing", "changed", "deleted"])
async def test_whatever_has_happened_since_it_is_201_with_the_resource_as_created(admin, shop, resource, since):
    place, path, body = resource
    created = (await admin.get(place)).json()
    tag = (await admin.get(place)).headers["ETag"]
    if since == "changed":
        change = (
            {"disabled": True} if path == "/register" else {"stock": 1, "price": {"amount": 1, "currency": "INR"}}
        )
        assert (await admin.patch(place, json=change)).status_code == 200
    elif since == "deleted":
        assert (await admin.delete(place)).status_code == 204
    again = await admin.post(path, json=body, headers=KEY)
    assert again.status_code == 201
    assert again.json() == created
    assert (again.headers["ETag"], again.headers["Location"]) == (tag, place)
    assert (await admin.get(place)).status_code == (404 if since == "deleted" else 200)


@pytest.mark.parametrize("path", ["/products", "/register"])
async def test_attempts_that_run_at_once_make_one(admin, shop, monkeypatch, path):
    """As when the first is only slow, and its lease has ended."""
    monkeypatch.setattr("shop_api.http.idempotency.repository.LEASE", -LEASE)
    body = GENERATED if path == "/products" else ACCOUNT
    answers = await asyncio.gather(*(admin.post(path, json=body, headers=KEY) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
    assert len({answer.text for answer in answers}) == 1
    name = "products" if path == "/products" else "users"
    assert await shop.database[name].count_documents({"username": {"$ne": "root"}}) == 1


async def test_the_record_of_what_was_created_has_no_password_in_it(anyone, shop):
    assert (await anyone.post("/register", json=ACCOUNT, headers=KEY)).status_code == 201
    stored = str([document async for document in shop.database["idempotency_keys"].find()])
    assert "newcomer" in stored
    assert "argon2" not in stored


class TestWithoutAToken:
    """Strangers do not share their keys."""

    async def register(self, app, address: str, **body: str) -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
            return await client.post("/register", json={**ACCOUNT, **body}, headers=KEY)

    async def test_a_key_belongs_to_the_address_of_the_client(self, app):
        assert (await self.register(app, "192.0.2.1")).status_code == 201
        other = await self.register(app, "192.0.2.2", username="other")
        assert (other.status_code, other.json()["username"]) == (201, "other")
        assert (await self.register(app, "192.0.2.1")).headers["Idempotent-Replayed"] == "true"

    async def test_for_ipv6_to_its_network(self, app):
        assert (await self.register(app, "2001:db8::1")).status_code == 201
        assert (await self.register(app, "2001:db8::2")).headers["Idempotent-Replayed"] == "true"
        assert (await self.register(app, "2001:db8:0:1::2")).status_code == 409

"""Which requests are the same under one `Idempotency-Key`."""

import pytest

KEY = {"Idempotency-Key": "cart,17", "Content-Type": "application/json"}
FIRST = '{"name": "Bowl", "price": {"amount": 2500, "currency": "EUR"}, "tags": ["a", "b"]}'


@pytest.mark.parametrize(
    "again",
    [
        '{"tags": ["a", "b"], "price": {"currency": "EUR", "amount": 2500}, "name": "Bowl"}',
        '{"name":"Bowl","price":{"amount":2500,"currency":"EUR"},"tags":["a","b"]}',
        '{"name": "B\\u006fwl", "price": {"amount": 2.5e3, "currency": "EUR"}, "tags": ["a", "b"]}',
    ],
    ids=["order", "spaces", "escapes and exponents"],
)
async def test_the_same_json_written_in_another_way_is(admin, again):
    first = await admin.post("/products", content=FIRST, headers=KEY)
    second = await admin.post("/products", content=again, headers=KEY)
    assert (second.status_code, second.content) == (first.status_code, first.content) == (201, first.content)
    assert second.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    "change", [('"a", "b"', '"b", "a"'), ("2500", "2500.5"), ("2500", '"2500"'), ("2500", "true")]
)
async def test_what_means_something_else_is_not(admin, change):
    await admin.post("/products", content=FIRST, headers=KEY)
    second = await admin.post("/products", content=FIRST.replace(*change), headers=KEY)
    assert (second.status_code, second.json()["code"]) == (422, "idempotency_key_reused")


async def test_what_is_no_json_claims_nothing(admin):
    broken = await admin.post("/products", content="{", headers=KEY)
    assert (broken.status_code, broken.json()["code"]) == (400, "malformed_body")
    assert (await admin.post("/products", content=FIRST, headers=KEY)).status_code == 201

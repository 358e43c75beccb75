"""What pages from other origins may do, and what caches between are told about it (Fetch §3.2, RFC 9110 §12.5.5)."""

from collections.abc import AsyncIterator

import pytest

from conftest import Client, client_of, running_app

PAGE = "https://page.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "PUT"}


@pytest.fixture(scope="module")
async def client(engines) -> AsyncIterator[Client]:
    settings = engines.model_copy(update={"cors_origins": [PAGE]})
    async with running_app(settings) as app, client_of(app) as client:
        yield client


def vary(answer) -> set[str]:
    return {name.strip().lower() for name in answer.headers.get("vary", "").split(",") if name.strip()}


@pytest.mark.parametrize("path", ["/products", "/products/none", "/nothing", "/", "/users", "/health/live"])
@pytest.mark.parametrize("origin", [None, PAGE, "https://other.example"])
async def test_every_answer_says_that_it_differs_by_origin(client, path, origin):
    headers = {"Origin": origin} if origin else {}
    for _ in range(3):  # a miss and hits of the cache
        answer = await client.get(path, headers=headers)
        assert "origin" in vary(answer)
        assert answer.headers.get("access-control-allow-origin") == (origin if origin == PAGE else None)
    if etag := answer.headers.get("etag"):
        unchanged = await client.get(path, headers={**headers, "If-None-Match": etag})
        assert (unchanged.status_code, "origin" in vary(unchanged)) == (304, True)


async def test_nothing_is_said_of_origins_where_none_is_allowed(anyone):
    for _ in range(3):
        assert "origin" not in vary(await anyone.get("/products"))


@pytest.mark.parametrize("path", ["/", "/problems/not_found"])
@pytest.mark.parametrize("accept", ["application/json", "text/html", "*/*"])
async def test_where_both_forms_exist_each_says_so(anyone, path, accept):
    assert "accept" in vary(await anyone.get(path, headers={"Accept": accept}))


async def test_an_allowed_page_may_send_any_header(client):
    answer = await client.options(
        "/products", headers=PREFLIGHT | {"Access-Control-Request-Headers": "x-new, if-match"}
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == "x-new, if-match"
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert vary(answer) >= {"origin", "access-control-request-method", "access-control-request-headers"}


@pytest.mark.parametrize(
    "change",
    [
        {"Access-Control-Request-Method": "FOO"},
        {"Access-Control-Request-Method": ""},
        {"Access-Control-Request-Private-Network": "true"},
    ],
)
async def test_a_refused_preflight_is_a_problem(client, change):
    answer = await client.options("/products", headers=PREFLIGHT | change)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (400, "preflight_refused")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "access-control-allow-private-network" not in answer.headers


async def test_a_preflight_of_another_page_is_a_problem(client):
    answer = await client.options("/products", headers=PREFLIGHT | {"Origin": "https://other.example"})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "access-control-allow-origin" not in answer.headers

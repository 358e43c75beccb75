"""Requests that are one too many at the same time."""

import asyncio

import httpx

from shop_api.http.middleware import ConcurrencyLimitMiddleware


async def test_one_too_many_is_refused_at_once_and_health_checks_are_not():
    inside, may_end = asyncio.Event(), asyncio.Event()

    async def slow(scope, receive, send):
        if scope["path"] == "/slow":
            inside.set()
            await may_end.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(ConcurrencyLimitMiddleware(slow, limit=1))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        first = asyncio.create_task(client.get("/slow"))
        await inside.wait()
        refused = await client.get("/products")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["Retry-After"] == "1"
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert (await client.get(path)).status_code == 200
        may_end.set()
        assert (await first).status_code == 200
        assert (await client.get("/products")).status_code == 200


async def test_a_request_that_fails_leaves_its_place():
    async def fails(scope, receive, send):
        raise ZeroDivisionError

    transport = httpx.ASGITransport(ConcurrencyLimitMiddleware(fails, limit=1), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        assert [(await client.get("/")).status_code for _ in range(3)] == [500] * 3

"""Counts what the event loop's thread does for one request: Python calls, of all code and ours, and processor time.

    .venv/bin/python bench/calls.py

Calls do not depend on how busy the machine is, so two checkouts can be compared by them. The whole application serves
the requests in this process, on embedded engines; what the server does with them is not counted.
"""

import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import catalogue
import httpx
from contenders import ADMIN, PASSWORD
from fastapi import FastAPI
from pydantic import SecretStr
from rich.console import Console

from shop_api import embedded
from shop_api.app import create_app
from shop_api.observability.logging import configure_logging
from shop_api.settings import Settings
from shop_api.settings import load as load_settings

_PRODUCTS = 40
_WARM, _COUNTED, _TIMED = 30, 20, 300
_OURS = f"{os.sep}shop_api{os.sep}"
_numbers = count(1)
console = Console(highlight=False)

Ask = Callable[[], Awaitable[None]]
"""Sends a request, and ends the run unless it succeeds."""


class Counter:
    """Counts the calls in this thread during the block."""

    def __init__(self) -> None:
        self.all = self.ours = 0

    def __enter__(self) -> "Counter":
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self.all += 1
            self.ours += _OURS in frame.f_code.co_filename


def request(app: FastAPI, method: str, url: str, body: bytes = b"", **headers: str) -> Ask:
    path, _, query = url.partition("?")
    sent = [(b"host", b"bench"), *((name.encode(), value.encode()) for name, value in headers.items())]
    if body:
        sent += [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    scope: Mapping[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": sent,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 4000),
    }

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message.get("status", 200) >= 300:
            raise SystemExit(f"{method} {url}: {message}")

    async def ask() -> None:
        await app({**scope, "state": {}}, receive, send)

    return ask


async def measured(asks: Callable[[], Ask]) -> tuple[float, float, float]:
    """Calls of all code, calls of ours and microseconds, for each request."""
    for _ in range(_WARM):
        await asks()()
    counted, timed = [asks() for _ in range(_COUNTED)], [asks() for _ in range(_TIMED)]
    with Counter() as counter:
        for ask in counted:
            await ask()
    started = time.thread_time()
    for ask in timed:
        await ask()
    spent = time.thread_time() - started
    return counter.all / _COUNTED, counter.ours / _COUNTED, spent / _TIMED * 1e6


async def rows(settings: Settings) -> None:
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bench") as client,
    ):
        signed_in = await client.post("/auth", json={"username": ADMIN, "password": PASSWORD})
        token = f"Bearer {signed_in.json()['access_token']}"
        for number in range(_PRODUCTS):
            await client.post("/products", json=catalogue.product(number), headers={"Authorization": token})
        item, product = f"/products/{catalogue.product_id(1)}", catalogue.product(1)

        def put() -> Ask:
            body = json.dumps(product | {"stock": next(_numbers)}).encode()
            return request(app, "PUT", item, body, authorization=token)

        kinds: dict[str, Callable[[], Ask]] = {
            "item": lambda: request(app, "GET", item),
            "list of 20": lambda: request(app, "GET", "/products?limit=20"),
        }
        if settings.cache == "off":
            kinds["PUT"] = put
            kinds["GET /users/me"] = lambda: request(app, "GET", "/users/me", authorization=token)
        for name, asks in kinds.items():
            calls, ours, spent = await measured(asks)
            console.print(
                f"{name:16} {settings.mongo_driver:8} cache {settings.cache:3}"
                f" {calls:8,.0f} calls, {ours:5,.0f} of ours, {spent:6,.0f} µs"
            )


async def main() -> None:
    log = Path(os.devnull).open("w")  # noqa: SIM115  # until the end: what is logged is written later
    with tempfile.TemporaryDirectory(prefix="shop-bench-") as folder:
        wanted = load_settings(data_dir=Path(folder), jwt_secret=secrets.token_hex(32), rate_limits="off")
        first = {"admin_username": ADMIN, "admin_password": SecretStr(PASSWORD), "log_format": "json"}
        with embedded.running(wanted, console.print) as settings:
            configure_logging(settings.model_copy(update=first), log)
            for driver in ("motor", "pymongo"):
                for cache in ("on", "off"):
                    await rows(settings.model_copy(update=first | {"mongo_driver": driver, "cache": cache}))


if __name__ == "__main__":
    asyncio.run(main())

"""An instance whose memory tier is full: `python full_memory.py`, configured by the environment as any instance.

Entries live for a second, so that no load on a small machine fills 64 MiB before the first ones go. Here they stay:
the tier gets answers to the most varied products and lists until it has given up others for lack of room.
"""

import asyncio
import socket
import sys
import time

import uvicorn

from shop_api.app import create_app
from shop_api.cache.memory import Entry, MemoryTier
from shop_api.cache.response import Answer
from shop_api.observability.logging import configure_logging
from shop_api.settings import load

_FOR_EVER = 1e6


def fill(memory: MemoryTier) -> None:
    """Nine in ten answers are products of about 600 bytes, the others pages of 20 of them."""
    number = 0
    while True:
        number += 1
        page = number % 10 == 0
        body = b"%d" % number + b"x" * (12_000 if page else 600)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"public, no-cache"),
            (b"etag", b'"%d"' % number),
            (b"x-content-type-options", b"nosniff"),
        ]
        tags = ("products",) if page else (f"product:sku-{number:07}",)
        headers.append((b"surrogate-key", " ".join(tags).encode()))
        now, before = time.monotonic(), memory.bytes
        entry = Entry(Answer(200, headers, body), tags, object(), now, now + _FOR_EVER)
        entry.headers(now)
        memory.put((f"/products/sku-{number:07}", b"min_price=%d" % number if page else b""), entry, now)
        if memory.bytes < before + entry.size:
            return


async def main() -> None:
    settings = load()
    configure_logging(settings)
    app = create_app(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="warning", access_log=False))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)  # the follower clears the tier when it begins
        memory = app.state.services.cache.memory
        fill(memory)
        sys.stderr.write(f"{len(memory)} answers, {memory.bytes} bytes of {memory.max_bytes}\n")
        sys.stderr.write(f"ready on http://127.0.0.1:{listener.getsockname()[1]}\n")
        await serving


if __name__ == "__main__":
    asyncio.run(main())

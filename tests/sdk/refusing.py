"""A small server that answers as it is told, for what the real one does only when it is in trouble."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple

from shop_api.features.products.models import DEFAULTS
from support.factories import a_product

CODES = {
    409: "idempotency_in_progress",
    429: "rate_limited",
    502: "upstream_unavailable",
    503: "database_unavailable",
}
NOW = "2026-01-31T09:30:00Z"


class Refusing(NamedTuple):
    url: str
    answers: list[tuple[int, str]]
    """The status and Retry-After of each answer to come; status 0 closes the connection without one."""
    requests: list[tuple[str, str | None]]
    """The method and the Idempotency-Key of each request so far."""


@contextmanager
def refusing() -> Iterator[Refusing]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            shop.requests.append((self.command, self.headers.get("Idempotency-Key")))
            status, retry_after = shop.answers.pop(0)
            self.close_connection = True
            if status == 0:
                return
            said = DEFAULTS | a_product(version=1, created_at=NOW, updated_at=NOW)
            if status in CODES:
                said = {"code": CODES[status], "status": status, "detail": "Not now."}
            self.send_response(status)
            self.send_header("Content-Type", "application/problem+json" if status in CODES else "application/json")
            if retry_after:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 (the names that the base class calls)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        shop = Refusing(f"http://127.0.0.1:{server.server_port}", [], [])
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield shop
        server.shutdown()
        thread.join()

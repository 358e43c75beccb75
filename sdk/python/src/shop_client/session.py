"""The way to a shop: who is signed in, what is tried again, and what is raised."""

import random
import time
from itertools import count
from threading import Lock
from typing import Any

import httpx

from shop_client.errors import ShopError
from shop_client.generated.models import Tokens
from shop_client.problems import InvalidRefreshToken, InvalidToken

_SAFE = {"GET", "HEAD", "OPTIONS"}
# With Retry-After the shop has asked for the same request again. 409 has it while the same Idempotency-Key is in use.
_LATER = {409, 429, 503}


class Session(httpx.Client):
    """Carries the requests of the generated functions, from any number of threads."""

    def __init__(self, base_url: str, tokens: Tokens | None, attempts: int, longest_wait: float) -> None:
        super().__init__(base_url=base_url, timeout=10)
        self.tokens = tokens
        self._attempts = attempts
        self._longest_wait = longest_wait
        self._refreshing = Lock()

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """The answer, if it is a success; ShopError if it is not, httpx.TransportError if there is none."""
        used = self.tokens
        try:
            return self._answer(request, used, **options)
        except InvalidToken:
            if used is None:
                raise
        self._refresh(used)
        return self._answer(request, self.tokens, **options)

    def grant(self, path: str, **given: str) -> Tokens:
        """Tokens for a password or for a refresh token."""
        return Tokens.from_dict(self._answer(self.build_request("POST", path, json=given), None).json())

    def _refresh(self, used: Tokens) -> None:
        # A refresh token that is sent twice ends the session: of several threads one sends it, the others wait.
        with self._refreshing:
            if self.tokens is used:
                try:
                    self.tokens = self.grant("/auth/refresh", refresh_token=used.refresh_token)
                except InvalidRefreshToken:
                    self.tokens = None
                    raise

    def _answer(self, request: httpx.Request, tokens: Tokens | None, **options: Any) -> httpx.Response:
        if tokens:
            request.headers["Authorization"] = f"Bearer {tokens.access_token}"
        repeatable = request.method in _SAFE or "Idempotency-Key" in request.headers
        for attempt in count(1):
            wait = random.uniform(0.05, 0.1) * 2**attempt  # noqa: S311 (it only spreads the clients out)
            try:
                response = super().send(request, **options)
            except httpx.TransportError:
                if not repeatable or attempt == self._attempts:
                    raise
            else:
                if response.is_success:
                    return response
                asked = response.headers.get("Retry-After", "")
                if response.status_code in _LATER and asked.isdecimal():
                    wait = int(asked)
                elif response.status_code != 502 or not repeatable:
                    raise ShopError.of(response)
                if attempt == self._attempts or wait > self._longest_wait:
                    raise ShopError.of(response)
            time.sleep(wait)
        raise AssertionError

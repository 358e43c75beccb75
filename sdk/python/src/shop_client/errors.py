"""What a shop refuses, as exceptions. problems.py, made from openapi.json, has a class for each code."""

from typing import Any, ClassVar

import httpx

from shop_client.generated.models import ProblemField


class ShopError(Exception):
    """An answer of the shop that is not a success (RFC 9457). Its class tells its `code`."""

    _kinds: ClassVar[dict[str, type["ShopError"]]] = {}

    def __init__(self, response: httpx.Response) -> None:
        said = _problem(response)
        self.status = response.status_code
        self.code: str = said.get("code", "")
        """A stable name; empty if something between here and the shop has answered in its place."""
        self.detail: str = said.get("detail", response.reason_phrase)
        self.request_id: str = response.headers.get("X-Request-ID", "")
        """Finds the request in the shop's log."""
        self.errors = [ProblemField.from_dict(field) for field in said.get("errors") or ()]
        """With InvalidRequest: each thing that is wrong."""
        self.current_version: int | None = said.get("current_version")
        """With VersionConflict: the version that the resource has now."""
        super().__init__(f"{self.status} {self.code}: {self.detail}")

    def __init_subclass__(cls, code: str) -> None:
        ShopError._kinds[code] = cls

    @classmethod
    def of(cls, response: httpx.Response) -> "ShopError":
        return cls._kinds.get(_problem(response).get("code", ""), cls)(response)


def _problem(response: httpx.Response) -> dict[str, Any]:
    if not response.headers.get("Content-Type", "").startswith("application/problem+json"):
        return {}
    problem: dict[str, Any] = response.json()
    return problem

"""Responses from plain values, which need no model to be serialized."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response


class JsonResponse(Response):
    """`content` as JSON: models, or plain values with datetimes among them. NaN and infinities become null."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(to_json(content, inf_nan_mode="null"), status_code, headers)

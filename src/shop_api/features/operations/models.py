"""Responses of the health checks."""

from typing import Literal, NamedTuple

from shop_api.kernel.schema import Schema

State = Literal["up", "down"]


class Live(Schema):
    """The process is running."""

    status: Literal["ok"]


class Ready(Schema):
    """The instance can serve requests; with the state of each engine."""

    status: Literal["ready"]
    mongo: State
    redis: State
    """If `down`, the service still works, but slower."""


class Engines(NamedTuple):
    mongo: State
    redis: State

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
    clock_offset_seconds: float
    """By how much this instance's clock is ahead of MongoDB's; negative if behind. Beyond 60 either way, tokens and
    sessions may end too early or too late."""


class Engines(NamedTuple):
    mongo: State
    redis: State

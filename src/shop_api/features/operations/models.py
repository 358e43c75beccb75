"""How the service is: what health checks answer."""

from typing import Literal, NamedTuple

from shop_api.kernel.schema import Schema

State = Literal["up", "down"]


class Live(Schema):
    """The process answers."""

    status: Literal["ok"]


class Ready(Schema):
    """What the service stands on."""

    status: Literal["ready"]
    mongo: State
    redis: State
    """The service works without it, more slowly."""


class Engines(NamedTuple):
    mongo: State
    redis: State

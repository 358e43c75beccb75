"""What is to be reached, as ratios of figures of the same run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Scenarios = Mapping[str, Any]
"""Of one catalogue's results."""


@dataclass(frozen=True)
class Goal:
    what: str
    goal: str
    over: str
    """A scenario and one of its figures, with a slash between; with a star at the end, the best that begins so."""
    under: str | None
    """By what it is divided; None for a goal that is no ratio."""
    bound: float
    at_least: bool = True

    def ratio(self, found: Scenarios) -> float | None:
        """None if it was not measured."""
        over = _median(found, self.over)
        under = 1.0 if self.under is None else _median(found, self.under)
        return over / under if over is not None and under else None

    def met(self, ratio: float) -> bool:
        return ratio >= self.bound if self.at_least else ratio <= self.bound


def _median(found: Scenarios, name: str) -> float | None:
    scenario, _, figure = name.partition("/")
    figures = found.get(scenario, {}).get("figures", {})
    if figure.endswith("*"):
        return max((one["median"] for name, one in figures.items() if name.startswith(figure[:-1])), default=None)
    return figures[figure]["median"] if figure in figures else None


def _hot(what: str, scenario: str, original: str) -> list[Goal]:
    return [
        Goal(what, "≥ 0.85 × bare ASGI", f"{scenario}/service", f"{scenario}/bare ASGI", 0.85),
        Goal(what, "≥ 15 × the original's cached read", f"{scenario}/service", original, 15),
    ]


_FROM_ORIGINAL = "cold-item/original, uncached*"
_WITHOUT = "token/without, cache off"

GOALS = [
    *_hot("hot item", "hot-item", "hot-item/original*"),
    Goal("hot item without Redis", "≥ 0.8 × with", "hot-item/service, no Redis", "hot-item/service", 0.8),
    *_hot("hot list", "hot-list", "hot-list/original*"),
    *_hot("304", "not-modified", "hot-item/original*"),
    Goal("Redis-tier hit", "≥ 3 × the original's cached read", "redis-hit/service", "redis-hit/original", 3),
    Goal(
        "cold item, stored in the cache",
        "≥ 1.3 × the original's uncached read",
        "cold-item/service",
        _FROM_ORIGINAL,
        1.3,
    ),
    Goal(
        "cold item, cache off",
        "≥ 1.3 × the original's uncached read",
        "cold-item/service, cache off",
        _FROM_ORIGINAL,
        1.3,
    ),
    Goal(
        "cold item, PyMongo Async, stored in the cache",
        "≥ 1.6 × the original's uncached read",
        "cold-item/service, PyMongo Async",
        _FROM_ORIGINAL,
        1.6,
    ),
    Goal(
        "cold item, PyMongo Async, cache off",
        "≥ 1.6 × the original's uncached read",
        "cold-item/service, PyMongo Async, cache off",
        _FROM_ORIGINAL,
        1.6,
    ),
    Goal(
        "cold list: its time, cache off",
        "≤ 1.3 × the bare driver's",
        "cold-list/driver, Motor",
        "cold-list/service, cache off",
        1.3,
        at_least=False,
    ),
    Goal(
        "cold list: its time, stored in the cache",
        "≤ 1.3 × the bare driver's",
        "cold-list/driver, Motor",
        "cold-list/service",
        1.3,
        at_least=False,
    ),
    Goal(
        "cold list: its time, PyMongo Async, cache off",
        "≤ 1.3 × the bare driver's",
        "cold-list/driver, PyMongo Async",
        "cold-list/service, PyMongo Async, cache off",
        1.3,
        at_least=False,
    ),
    Goal("page 1,000: its time", "≤ 1.2 × page 1", "deep-page/page 1", "deep-page/deep page", 1.2, at_least=False),
    Goal("with a token, cache off", "≥ 0.7 × without", "token/token, cache off", _WITHOUT, 0.7),
    Goal("with a token and no-cache", "≥ 0.7 × without, cache off", "token/token and no-cache", _WITHOUT, 0.7),
    Goal("GET /users/me", "≥ 0.7 × a product without, cache off", "token/GET /users/me", _WITHOUT, 0.7),
    Goal("hot item with a token", "≥ 0.7 × without", "token/hot, token", "token/hot, without", 0.7),
    Goal("durable PUT", "≥ 0.8 × the bare driver's update", "put/service", "put/driver, Motor", 0.8),
    Goal(
        "durable PUT, PyMongo Async",
        "≥ 0.8 × the bare driver's update",
        "put/service, PyMongo Async",
        "put/driver, PyMongo Async",
        0.8,
    ),
    Goal(
        "p99 of GETs while 200 sign-ins run",
        "≤ 3 × without",
        "busy/service, with sign-ins",
        "busy/service, alone",
        3,
        at_least=False,
    ),
    Goal(
        "import",
        "≥ 0.5 × raw insert_many",
        "import/shop-api products import",
        "import/insert_many, Motor",
        0.5,
    ),
    Goal("memory, MiB", "≤ 150 with the tier full", "memory/service, 64 MiB tier full", None, 150, at_least=False),
    Goal("start", "≤ 2 × importing the app", "start/start", "start/import of the app", 2, at_least=False),
    Goal(
        "first start, in a new folder",
        "≤ 2 × importing the app",
        "start/first start",
        "start/import of the app",
        2,
        at_least=False,
    ),
]

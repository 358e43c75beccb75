"""What scenarios are made of: who takes part, rounds in alternating order, and the median."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import catalogue
import load
from contenders import Contenders, Server
from load import Load, LoadError, Sample

T = TypeVar("T")
Measure = Callable[[int], Sample]
"""Measures one contender in the round of that number, from 0."""


# Requests that no run of a few seconds uses up, where each needs the database.
_ENOUGH = 100_000


class Bench:
    """What a scenario needs: the contenders, the catalogue of `size` products, and how long to measure."""

    def __init__(self, contenders: Contenders, size: int, seconds: float, folder: Path, say: Callable[[str], None]):
        self.contenders = contenders
        self.size = size
        self.seconds = seconds
        self.folder = folder
        self.say = say
        self.ids: Sequence[str] = catalogue.public_ids(size)
        self.seen: dict[str, dict[str, int]] = {}
        """Who answered, by contender."""
        self.notes: list[str] = []
        self._stack = ExitStack()

    def start(self, starting: AbstractContextManager[T]) -> T:
        """Until the end of the scenario."""
        return self._stack.enter_context(starting)

    def end(self) -> None:
        self._stack.close()
        self.seen, self.notes = {}, []

    def rate(self, name: str, server: Server, wanted: Load, by: str = "200 ") -> Measure:
        """Requests per second of the same load in each round, after one that warms up and looks at who answers: `by`
        is how their status and Cache-Status begin, with `…` for what may stand between."""
        self.check(name, server, wanted, by)
        return lambda _: load.run(server.url, wanted, self.seconds)

    def check(self, name: str, server: Server, wanted: Load, by: str) -> int:
        """Notes who answers; returns how many requests were sent for it."""
        seen, sent = load.answered_by(server.url, wanted, 1)
        self.seen[name] = dict(seen.most_common(5))
        begins, _, ends = by.partition("…")
        right = sum(times for who, times in seen.items() if who.startswith(begins) and who.endswith(ends))
        if right < 0.98 * sum(seen.values()):
            self.notes.append(f"{name}: not all answers were `{by}`")
        return sent


class Unseen:
    """Requests that have not been sent yet, for loads in which nothing may be asked for twice."""

    def __init__(self, requests: Sequence[str]) -> None:
        self._requests = requests
        self.used = 0

    def load(self, **how: Any) -> Load:
        at = self.used % len(self._requests)
        return Load((*self._requests[at:], *self._requests[:at])[:_ENOUGH], **how)

    @property
    def exhausted(self) -> bool:
        return self.used > len(self._requests)


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    unit: str
    each_size: bool
    """Whether the size of the catalogue may matter; if not it is measured with one size only."""
    prepare: Callable[[Bench], Mapping[str, Measure]]
    least: int = 0
    """The smallest catalogue that it makes sense with."""


def scenario(
    name: str, title: str, unit: str = "requests/s", *, each_size: bool = False, least: int = 0
) -> Callable[[Callable[[Bench], Mapping[str, Measure]]], Scenario]:
    """Makes a scenario of a function that starts who takes part and says how each is measured."""
    return lambda prepare: Scenario(name, title, unit, each_size, prepare, least)


def measured(wanted: Scenario, bench: Bench, rounds: int) -> dict[str, Any]:
    """The scenario's figures, for the file of results."""
    try:
        try:
            measures = wanted.prepare(bench)
        except LoadError as error:
            bench.notes.append(str(error))
            measures = {}
        samples: dict[str, list[Sample]] = {name: [] for name in measures}
        for number, name in _in_turns(list(measures), rounds):
            try:
                samples[name].append(measures[name](number))
            except LoadError as error:  # the others are still worth knowing
                bench.notes.append(f"{name}: {error}")
        return {
            "title": wanted.title,
            "unit": wanted.unit,
            "rounds": rounds,
            "figures": {name: _figure(found, bench.seen.get(name)) for name, found in samples.items() if found},
            "notes": bench.notes,
        }
    finally:
        bench.end()


def _in_turns(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Each name once in each round, in an order that turns round from one to the next."""
    for number in range(rounds):
        for name in reversed(names) if number % 2 else names:
            yield number, name


def _figure(samples: Sequence[Sample], seen: Mapping[str, int] | None) -> dict[str, Any]:
    figure: dict[str, Any] = {
        "median": round(median(sample.value for sample in samples), 3),
        "all": [round(sample.value, 3) for sample in samples],
    }
    for name in ("p50_ms", "p99_ms"):
        if found := [value for sample in samples if (value := getattr(sample, name)) is not None]:
            figure[name] = round(median(found), 3)
    if broken := sum(sample.broken for sample in samples):
        figure["broken"] = broken
    if seen:
        figure["answered_by"] = dict(seen)
    return figure

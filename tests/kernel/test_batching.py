"""Calls that are batched get what they would have got alone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_api.kernel import batching
from shop_api.kernel.batching import Batcher
from support.patience import PATIENCE

Result = Any


class Gone(Exception):
    """What concerns all: there is no server."""


def is_gone(error: Exception) -> bool:
    return isinstance(error, Gone)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass
class Store:
    """Values by key, and when each was there."""

    delays: Sequence[int] = (0,)
    """Turns of the loop before and after each read."""
    fails_at: frozenset[int] = frozenset()
    """Numbers of the batches for which there is no server."""
    now: int = 0
    values: dict[str, int] = field(default_factory=dict)
    changes: dict[str, list[tuple[int, int | None]]] = field(default_factory=dict)
    batches: list[list[str]] = field(default_factory=list)
    running: int = 0
    most: int = 0

    def write(self, key: str, value: int | None) -> None:
        self.now += 1
        self.changes.setdefault(key, []).append((self.now, value))
        self.values.pop(key, None)
        if value is not None:
            self.values[key] = value

    def held(self, key: str, since: int, until: int) -> set[int | None]:
        """The values of `key` at any moment from `since` to `until`."""
        before = [value for at, value in self.changes.get(key, []) if at <= since]
        return {(before or [None])[-1]} | {v for at, v in self.changes.get(key, []) if since < at <= until}

    async def read(self, keys: Sequence[str]) -> Sequence[int | Exception | None]:
        number = len(self.batches)
        self.batches.append(list(keys))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await turns(self.delays[number % len(self.delays)])
            if number in self.fails_at:
                raise Gone
            if "poison" in keys:
                raise ValueError("poison")
            found = [KeyError(key) if key == "refused" else self.values.get(key) for key in keys]
            await turns(self.delays[-1 - number % len(self.delays)])
            return found
        finally:
            self.running -= 1


KEYS = st.sampled_from(["a", "b", "c", "d", "poison", "refused"])
CALLS = st.lists(st.tuples(st.integers(0, 12), KEYS, st.none() | st.integers(0, 6)), min_size=1, max_size=40)
"""When each call is made, of what, and after how many turns its caller leaves."""
WRITES = st.lists(st.tuples(st.integers(0, 15), st.sampled_from("abcd"), st.none() | st.integers()), max_size=30)


@settings(max_examples=300)
@given(CALLS, WRITES, st.lists(st.integers(0, 4), min_size=1, max_size=5), st.frozensets(st.integers(0, 12)))
def test_each_call_gets_what_was_there_while_it_waited(calls, writes, delays, fails_at):
    async def play() -> None:
        store = Store(delays, fails_at)
        read: Batcher[str, int | None] = Batcher(store.read, is_gone, PATIENCE)

        async def call(at: int, key: str, leaves_after: int | None) -> None:
            await turns(at)
            asked = store.now
            task = asyncio.create_task(read(key))
            if leaves_after is not None:
                await turns(leaves_after)
                task.cancel()
            [outcome] = await asyncio.gather(task, return_exceptions=True)
            if isinstance(outcome, asyncio.CancelledError):
                assert leaves_after is not None
            elif isinstance(outcome, Gone):
                assert any(number in fails_at for number in range(len(store.batches)))
            elif key in ("poison", "refused"):
                assert isinstance(outcome, ValueError if key == "poison" else KeyError)
            else:
                assert outcome in store.held(key, asked, store.now)

        async def write(at: int, key: str, value: int | None) -> None:
            await turns(at)
            store.write(key, value)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as all_of_it:
            for each in calls:
                all_of_it.create_task(call(*each))
            for change in writes:
                all_of_it.create_task(write(*change))
        assert store.most <= batching._CONCURRENCY
        assert not read._waiting

    asyncio.run(play())


Run = Callable[[Sequence[int]], Awaitable[Sequence[int | Exception]]]


class Held:
    """Doubles numbers, when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(numbers))
        await self.go_on.wait()
        if self.error:
            raise self.error
        return [2 * number for number in numbers]


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def double(held: Held) -> Batcher[int, int]:
    return Batcher(held, is_gone, PATIENCE)


async def test_calls_of_one_turn_are_one_batch(double, held):
    held.go_on.set()
    assert await asyncio.gather(*map(double, range(5))) == [0, 2, 4, 6, 8]
    assert held.batches == [[0, 1, 2, 3, 4]]


async def test_calls_wait_while_two_batches_run_and_then_go_together(double, held):
    tasks = []
    for number in range(6):
        tasks.append(asyncio.create_task(double(number)))
        await turns(3)
    assert held.batches == [[0], [1]]
    held.go_on.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10]
    assert held.batches == [[0], [1], [2, 3, 4, 5]]


async def test_a_batch_is_bounded(double, held):
    held.go_on.set()
    many = range(3 * batching._MAX_SIZE + 1)
    assert await asyncio.gather(*map(double, many)) == [2 * number for number in many]
    assert max(map(len, held.batches)) == batching._MAX_SIZE


async def test_each_call_gets_an_error_of_its_own(double, held):
    held.error = Gone("away")
    held.go_on.set()
    errors = await asyncio.gather(*map(double, range(3)), return_exceptions=True)
    assert [(type(error), error.args) for error in errors] == 3 * [(Gone, ("away",))]
    assert len({id(error) for error in errors}) == 3
    assert {error.__cause__ for error in errors} == {held.error}


async def test_a_call_gives_up_in_time_and_others_go_on(held):
    double: Batcher[int, int] = Batcher(held, is_gone, 0.05)
    with pytest.raises(TimeoutError):
        await double(1)
    held.go_on.set()
    assert await double(2) == 4


async def test_callers_that_have_left_are_not_asked_for(double, held):
    tasks = []
    for number in range(4):
        tasks.append(asyncio.create_task(double(number)))
        await turns(2)
    for task in tasks[2:]:
        task.cancel()
    held.go_on.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert held.batches == [[0], [1]]
    assert await double(7) == 14


ASKED_BY: ContextVar[str] = ContextVar("asked_by", default="nobody")


@pytest.mark.parametrize(("callers", "seen"), [(["ada"], "ada"), (["ada", "ben"], "nobody")])
async def test_only_a_batch_of_one_call_runs_in_the_context_of_its_caller(callers, seen):
    async def run(arguments: Sequence[int]) -> Sequence[str]:
        return [ASKED_BY.get()] * len(arguments)

    asker: Batcher[int, str] = Batcher(run, is_gone, PATIENCE)

    async def ask(name: str) -> str:
        ASKED_BY.set(name)
        return await asker(1)

    assert await asyncio.gather(*map(ask, callers)) == [seen] * len(callers)

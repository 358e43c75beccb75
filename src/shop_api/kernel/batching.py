"""Batching: concurrent calls for one thing each become one call for many (the DataLoader pattern)."""

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from typing import Generic, NamedTuple, TypeVar

A = TypeVar("A")
R = TypeVar("R")
_MAX_SIZE = 50
_CONCURRENCY = 2


class _Call(NamedTuple, Generic[A, R]):
    argument: A
    future: asyncio.Future[R]
    context: Context


class Batcher(Generic[A, R]):
    """Calls `run` with the arguments of concurrent calls, at most _MAX_SIZE, in a task of its own.

    `run` returns a result or an exception for each argument, in the same order. Calls made in the same turn of the
    event loop form a batch. While _CONCURRENCY batches are running, further calls wait for one to end, so under load
    batches grow by themselves and without load nothing waits. A batch starts only after all its calls were made:
    each gets a result as current as that of a call of its own.

    If `run` raises an error for which `concerns_all` is true, every call of the batch gets a copy of it. After any
    other error, of which one argument may be the cause, `run` is called again for each argument alone. A call raises
    TimeoutError after `seconds`, if set.
    """

    def __init__(
        self,
        run: Callable[[Sequence[A]], Awaitable[Sequence[R | Exception]]],
        concerns_all: Callable[[Exception], bool],
        seconds: float | None,
    ) -> None:
        self._run = run
        self._concerns_all = concerns_all
        self._seconds = seconds
        self._waiting: deque[_Call[A, R]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, argument: A) -> R:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        if not self._waiting and len(self._running) < _CONCURRENCY:
            loop.call_soon(self._start)
        self._waiting.append(_Call(argument, future, copy_context()))
        if self._seconds is None:
            return await future
        timer = loop.call_later(self._seconds, self._expire, future)
        try:
            return await future
        finally:
            timer.cancel()

    def _start(self) -> None:
        while self._waiting and len(self._running) < _CONCURRENCY:
            calls: list[_Call[A, R]] = []
            while self._waiting and len(calls) < _MAX_SIZE:
                call = self._waiting.popleft()
                if not call.future.done():  # else its caller has left
                    calls.append(call)
            if calls:
                # What a context holds, such as a request id or a deadline, is of one call only.
                context = calls[0].context if len(calls) == 1 else Context()
                task = asyncio.get_running_loop().create_task(self._answer(calls), context=context)
                self._running.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start()

    async def _answer(self, calls: Sequence[_Call[A, R]]) -> None:
        for call, result in zip(calls, await self._results([call.argument for call in calls]), strict=True):
            if call.future.done():
                continue
            if isinstance(result, Exception):
                call.future.set_exception(result)
            else:
                call.future.set_result(result)

    @staticmethod
    def _expire(future: asyncio.Future[R]) -> None:
        if not future.done():
            future.set_exception(TimeoutError())

    async def _results(self, arguments: Sequence[A]) -> Sequence[R | Exception]:
        try:
            return await self._run(arguments)
        except Exception as error:
            if len(arguments) == 1:
                return [error]
            if self._concerns_all(error):
                return [_copied(error) for _ in arguments]
        return [(await self._results([argument]))[0] for argument in arguments]


def _copied(error: Exception) -> Exception:
    """Return a copy: one exception that is raised in several tasks would collect the traceback of each."""
    copied = copy.copy(error)
    copied.__cause__ = error
    return copied

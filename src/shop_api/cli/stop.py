"""A graceful stop of `shop-api serve`, at any moment of its start and while it serves."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Self, TypeVar

T = TypeVar("T")


class Stop:
    """A graceful stop on SIGTERM or SIGINT.

    The handler raises nothing: an exception at an arbitrary instruction can be lost in a destructor, or leave an
    event loop or child process half started. Long operations poll `check` instead, so that all closes in order.
    """

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.requested = False
        self._cancel: Callable[[], object] | None = None

    def __enter__(self) -> Self:
        for signum in self._SIGNALS:
            signal.signal(signum, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        # Everything is closed. During shutdown the interpreter restores the default action, which kills.
        for signum in self._SIGNALS:
            signal.signal(signum, signal.SIG_IGN)

    def _request(self, *_: object) -> None:
        self.requested = True
        if self._cancel is not None:
            self._cancel()

    def check(self) -> None:
        """Exit if a stop was requested."""
        if self.requested:
            sys.exit(0)

    def run(self, work: Coroutine[None, None, T]) -> T:
        """Return the result of `work`, run in an event loop. A signal cancels it and ends the command."""
        try:
            return asyncio.run(self._cancellable(work))
        except asyncio.CancelledError:
            self.check()
            raise

    async def _cancellable(self, work: Coroutine[None, None, T]) -> T:
        task = asyncio.ensure_future(work)
        self._cancel = partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
        try:
            if self.requested:
                task.cancel()
            return await task
        finally:
            self._cancel = None

import asyncio

import pytest

from shop_api.kernel.single_flight import SingleFlight


class Work:
    """Counts its runs, and ends each when it is told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> int:
        self.runs += 1
        run = self.runs
        await self.may_end.wait()
        return run


async def test_those_who_wait_at_the_same_time_get_one_result():
    work = Work()
    shared = SingleFlight(work, 0)
    waiting = [asyncio.create_task(shared.get()) for _ in range(5)]
    await asyncio.sleep(0)
    work.may_end.set()
    assert await asyncio.gather(*waiting) == [1] * 5
    assert await shared.get() == 2


async def test_a_result_is_kept_for_as_long_as_it_is_fresh(monkeypatch: pytest.MonkeyPatch):
    work = Work()
    work.may_end.set()
    now = 100.0
    monkeypatch.setattr("shop_api.kernel.single_flight.monotonic", lambda: now)
    shared = SingleFlight(work, 10)
    assert [await shared.get() for _ in range(3)] == [1, 1, 1]
    now = 109.9
    assert await shared.get() == 1
    now = 110.0
    assert await shared.get() == 2


async def test_an_error_reaches_everyone_and_is_not_kept():
    async def fails() -> None:
        raise ValueError("broken")

    shared = SingleFlight(fails, 10)
    first, second = await asyncio.gather(shared.get(), shared.get(), return_exceptions=True)
    assert first is second
    with pytest.raises(ValueError, match="broken") as third:
        await shared.get()
    assert third.value is not first


async def test_one_who_leaves_does_not_end_it_for_the_others():
    work = Work()
    shared = SingleFlight(work, 0)
    impatient, patient = (asyncio.create_task(shared.get()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    work.may_end.set()
    assert await patient == 1


async def test_closing_ends_what_runs_and_may_be_repeated():
    work = Work()
    shared = SingleFlight(work, 0)
    await shared.close()
    waiting = asyncio.create_task(shared.get())
    await asyncio.sleep(0)
    await shared.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await shared.close()

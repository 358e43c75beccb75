import asyncio

from shop_api.kernel import tasks


class TestEnd:
    async def test_one_that_loses_cancellations_ends_too(self):
        lost = []

        async def deaf():
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError as error:
                    lost.append(error)
                    if len(lost) == 3:
                        raise

        task = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        await tasks.end([task])
        assert task.cancelled()
        assert len(lost) == 3

    async def test_those_that_have_ended_or_fail_are_no_trouble(self):
        async def failing():
            try:
                await asyncio.sleep(60)
            finally:
                raise ValueError("at the end")

        async def done():
            return None

        both = [asyncio.create_task(failing()), asyncio.create_task(done())]
        await asyncio.sleep(0)
        await tasks.end(both)
        assert all(task.done() for task in both)

    async def test_none_at_all(self):
        await tasks.end([])

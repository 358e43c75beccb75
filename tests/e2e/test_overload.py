"""More requests than an instance can answer, and more slow connections than it should ever see."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from e2e.crowd import Crowd, SlowClients, percentile
from e2e.scale import amount
from e2e.stack import Instance, nginx
from e2e.usage import memory

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.campaign,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
SECONDS = amount("SECONDS", 4)
MOST = 16
SLOW = amount("SLOW_CLIENTS", 500)


class One(NamedTuple):
    """An instance that carries out 16 requests at the same time, and nginx in front of it."""

    port: int
    instance: Instance


@pytest.fixture(scope="module")
def one(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[One]:
    folder: Path = tmp_path_factory.mktemp("overload")
    instance = Instance({**env, "SHOP_MAX_REQUESTS": str(MOST)}, folder)
    instance.start()
    try:
        with nginx(folder / "nginx", [instance.port] * 3) as front:
            yield One(front.port, instance)
    finally:
        instance.stop()


async def test_of_three_times_too_many_requests_the_rest_is_refused_at_once(one: One):
    def normal() -> Crowd:
        return Crowd(one.port, "/products?q=normal{n}", 2, pause=0.01)

    before = await normal().run(1)
    assert {outcome.status for outcome in before} == {200}
    crowd = Crowd(one.port, "/products?q=over{n}", 3 * MOST)
    await crowd.run(SECONDS / 2)
    half_way = memory(one.instance.pid)
    outcomes = await crowd.run(SECONDS / 2)
    while len([outcome for outcome in outcomes if outcome.status == 200]) <= 100:
        outcomes = await crowd.run(1)
    assert memory(one.instance.pid) < half_way * 1.1

    counts = Counter(outcome.status for outcome in outcomes)
    refused = [outcome for outcome in outcomes if outcome.status == 503]
    print(f"\n{dict(counts)}; refused at the slowest in {max(refused, key=lambda o: o.seconds).seconds:.2f} s")
    assert counts.keys() == {200, 503}
    served = [outcome for outcome in outcomes if outcome.status == 200]
    # Those who wait do so for a place. In a few seconds of load a pause of the machine is more than one in a hundred.
    assert percentile(refused, 0.99 if SECONDS > 15 else 0.5) < percentile(served, 0.5)

    for _ in range(60):  # seconds
        after = await normal().run(1)
        if {outcome.status for outcome in after} == {200} and percentile(after, 0.99) < 0.05 + 3 * percentile(
            before, 0.99
        ):
            return
    pytest.fail("it has not recovered")


async def test_hundreds_of_slow_connections_are_not_noticed_by_others(one: One):
    control = await Crowd(one.port, "/products?q=control{n}", 4, pause=0.02).run(SECONDS / 2)
    slow = SlowClients(one.port, SLOW)
    attack = asyncio.create_task(slow.run(SECONDS))
    outcomes = await Crowd(one.port, "/products?q=calm{n}", 4, pause=0.02).run(SECONDS)
    await attack
    good = sum(outcome.status == 200 for outcome in outcomes)
    print(
        f"\n{good} of {len(outcomes)} good, p99 {percentile(outcomes, 0.99):.3f} s; {slow.ended} of {SLOW} were ended"
    )
    assert good >= len(outcomes) * 0.999
    assert len(outcomes) > len(control) / 2
    if SECONDS > 15:  # longer than nginx waits
        assert slow.ended >= SLOW // 3  # those that do not come to the end of their headers

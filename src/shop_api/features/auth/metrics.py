"""Sign-in metrics."""

from collections import Counter
from collections.abc import Awaitable, Iterator
from typing import TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from shop_api.features.auth.errors import InvalidCredentials
from shop_api.kernel.errors import RateLimited, ShopError

T = TypeVar("T")
_GRANTED = "granted"


class SignIns(Collector):
    """Counts sign-in attempts by outcome: `granted`, or the code of the error."""

    def __init__(self) -> None:
        # Exported from 0, so that increase() sees the first event.
        self._outcomes: Counter[str] = Counter({_GRANTED: 0, InvalidCredentials.code: 0, RateLimited.code: 0})

    async def counted(self, attempt: Awaitable[T]) -> T:
        """Return the result of `attempt` and count its outcome, also when it raises."""
        outcome = "failed"
        try:
            result = await attempt
            outcome = _GRANTED
        except ShopError as error:
            outcome = error.code
            raise
        finally:
            self._outcomes[outcome] += 1
        return result

    def collect(self) -> Iterator[Metric]:
        total = CounterMetricFamily("shop_sign_ins", "Sign-in attempts by outcome.", labels=["outcome"])
        for outcome, count in list(self._outcomes.items()):
            total.add_metric([outcome], count)
        yield total

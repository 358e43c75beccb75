"""A clock that stands still until a test moves it."""

from datetime import datetime, timedelta

from shop_api.kernel.clock import utc_now


class ManualClock:
    """Stands at the time it was made at, and moves by `advance` alone."""

    def __init__(self) -> None:
        self._now = utc_now()

    def __call__(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        self._now += by

"""The flag for an instance that is about to stop."""


class Draining:
    """Once `begun`, the instance reports not ready and closes connections after their response. It still serves."""

    begun = False

"""Whether this instance is about to stop."""


class Draining:
    """From its beginning on an instance is not ready and asks clients to connect elsewhere, but still answers."""

    begun = False

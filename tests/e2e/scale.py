"""How much of a campaign is run: little with `make test`, all with `make chaos`, which sets CHAOS_ variables."""

import os

IN_THE_SUITE = not any(name.startswith("CHAOS_") for name in os.environ)
"""Then other tests want the processor as well."""


def amount(name: str, short: int) -> int:
    """What the environment says, or the short version."""
    return int(os.environ.get(f"CHAOS_{name}", short))

"""How much of a campaign is run: little with `make chaos-short`, all of it with `make chaos`."""

import os


def amount(name: str, short: int) -> int:
    """What the environment says, or the short version."""
    return int(os.environ.get(f"CHAOS_{name}", short))

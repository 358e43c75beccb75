"""Versions of resources, for optimistic concurrency."""

from datetime import datetime
from typing import NamedTuple

# Milliseconds since 1970 stay below 2^53, which every JSON reader holds exactly (RFC 7493 §2.2), for 285,000 years.
MAX_VERSION = 2**53 - 1


class ExpectedVersions(NamedTuple):
    """The versions to which a change may apply (RFC 9110 §13.1.1, §13.1.2)."""

    included: frozenset[int] | None = None
    """The versions in If-Match; None if any version matches."""
    excluded: frozenset[int] | None = frozenset()
    """The versions in If-None-Match; None (`*`) if the resource must not exist."""

    def allow(self, version: int) -> bool:
        included = self.included is None or version in self.included
        return included and self.excluded is not None and version not in self.excluded


ANY_VERSION = ExpectedVersions()


def first_version(created_at: datetime) -> int:
    """Return the first version of a resource that can be deleted and created again under the same name: the time in
    milliseconds. Each change adds one and takes longer than a millisecond, so no version is ever reused."""
    return round(created_at.timestamp() * 1000)

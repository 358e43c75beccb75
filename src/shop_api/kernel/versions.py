"""Versions of resources, for optimistic concurrency."""

from datetime import datetime
from typing import NamedTuple

# Milliseconds since 1970 stay below 2^53, which every JSON reader holds exactly (RFC 7493 §2.2), for 285,000 years.
MAX_VERSION = 2**53 - 1


class ExpectedVersions(NamedTuple):
    """The versions a change may apply to (RFC 9110 §13.1.1, §13.1.2)."""

    included: frozenset[int] | None = None
    """Only these, as If-Match says; None when any will do."""
    excluded: frozenset[int] | None = frozenset()
    """None of these, as If-None-Match says; None when there must be none at all."""

    def allow(self, version: int) -> bool:
        included = self.included is None or version in self.included
        return included and self.excluded is not None and version not in self.excluded


ANY_VERSION = ExpectedVersions()


def first_version(created_at: datetime) -> int:
    """Return the version at which a resource begins that can be deleted and made again under the same name: the time
    in milliseconds. Changes add one each, and take longer than that, so no version ever names another resource."""
    return round(created_at.timestamp() * 1000)

"""Versions of resources, for optimistic concurrency."""

ExpectedVersions = frozenset[int] | None
"""The versions a change may apply to; None when any will do."""

"""Versions of resources, for optimistic concurrency."""

Expected = frozenset[int] | None
"""The versions a change may apply to; None when any will do."""

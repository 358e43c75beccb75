"""Errors of the embedded engines."""


class EngineError(Exception):
    """An embedded engine cannot run. The message tells the operator the problem and the remedy."""


class FolderInUse(EngineError):
    """Another process runs its engines in this folder."""

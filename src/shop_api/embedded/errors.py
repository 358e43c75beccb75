"""Why the embedded engines refuse to run."""


class EngineError(Exception):
    """The message is for whoever started the service: what is wrong, and what to do."""


class FolderInUse(EngineError):
    """Another process runs its engines on this folder."""

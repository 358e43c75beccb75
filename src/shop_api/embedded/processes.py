"""The processes of the embedded engines, to notice when one ends by itself."""

from subprocess import Popen

MONGODB, REDIS, REDIS_GUARDS = "MongoDB", "Redis", "Redis of the guards"


class EngineProcesses:
    """The engines that this process has started, by name."""

    def __init__(self) -> None:
        self._processes: dict[str, Popen[bytes]] = {}

    def add(self, name: str, process: Popen[bytes]) -> None:
        self._processes[name] = process

    def __contains__(self, name: str) -> bool:
        return name in self._processes

    def ended(self) -> set[str]:
        """Return the names of the engines that have ended."""
        return {name for name, process in self._processes.items() if process.poll() is not None}

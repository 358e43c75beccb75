"""What a driver sends, counted by name and collection."""

from collections import Counter
from typing import Any

from pymongo.monitoring import CommandListener

READS = frozenset({"find", "hello", "listCollections", "listIndexes", "getMore", "endSessions", "ping"})


class CommandCounter(CommandListener):
    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.documents: list[Any] = []

    def started(self, event: Any) -> None:
        self.sent.append((event.command_name, event.command.get(event.command_name)))
        self.documents.append(event.command)

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...

    def count(self, name: str) -> int:
        return Counter(command for command, _ in self.sent)[name]

    def writes(self) -> list[tuple[str, Any]]:
        return [one for one in self.sent if one[0] not in READS]

    def clear(self) -> None:
        self.sent.clear()
        self.documents.clear()

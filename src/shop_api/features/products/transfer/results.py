"""The result of an import."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from shop_api.features.products.transfer.row import Omission


@dataclass
class RowWarning:
    """How often something was left out of a row."""

    count: int
    number: int
    """The first of these rows."""
    detail: str
    """What exactly was left out of that row, and why."""


@dataclass
class ImportResult:
    """Numbers of rows by outcome."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    without_id: int = 0
    """Created rows that had no id. Importing them again would create them again."""
    warnings: dict[str, RowWarning] = field(default_factory=dict)
    """By sentence, what was left out of rows that were imported."""

    @property
    def rows(self) -> int:
        return self.created + self.updated + self.unchanged + self.rejected

    def warn(self, warnings: Iterable[Omission], number: int) -> None:
        """Count the warnings about a row: each kind once."""
        for kind, detail in dict(warnings).items():
            self.warnings.setdefault(kind, RowWarning(0, number, detail)).count += 1


class Rejected(NamedTuple):
    """A row that was not imported, and the reason."""

    number: int
    product_id: str
    reason: str

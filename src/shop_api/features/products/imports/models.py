"""Models of imports over HTTP: parameters, the job as stored and as shown."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shop_api.features.products.transfer.importing import Preset
from shop_api.features.products.transfer.rows import Format
from shop_api.kernel.schema import Line, Schema, Timestamp

State = Literal["queued", "running", "completed", "failed", "cancelled"]
ACTIVE: tuple[State, ...] = ("queued", "running")
MAX_REJECTED_ROWS = 1_000
MAX_REASON = 500
_Assignments = Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=200)]


class ImportParameters(BaseModel):
    """How to read the file."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    dry_run: bool = False
    """Report what would change without storing it."""
    preset: Preset | None = None
    """The system that exported the file."""
    columns: Annotated[_Assignments, Field(alias="map", examples=[["product_id=SKU"]])] = []
    """Map a field to a column: `product_id=SKU`, `attributes.size=Size`. `price` is a decimal, `price.amount` is in
    minor units. With any of them, columns that match no field are ignored."""
    constants: Annotated[_Assignments, Field(alias="set", examples=[["price.currency=EUR"]])] = []
    """A field for all rows: `price.currency=EUR`, `status=draft`."""
    raw: bool = False
    """Keep the apostrophe before `=`, `+`, `-` or `@` in CSV."""
    name: Line | None = None
    """The name of the file, for the audit log."""


class RejectedRow(Schema):
    """A row that was not imported."""

    line: int
    """The line of the file, or the place in a JSON array, from 1."""
    product_id: str
    """What identifies the product in the file; empty if nothing does."""
    reason: str


class ImportNotice(Schema):
    """Something that was left out of rows that were imported."""

    warning: str
    count: int
    """The number of rows."""
    line: int
    """The first of these rows."""
    detail: str
    """What exactly was left out of that row, and why."""


class ImportJob(Schema):
    """An import. Its file is removed a day after the upload, and the import is forgotten 30 days after it ended."""

    import_id: str
    state: State
    """`queued`, `running`, and at the end `completed`, `failed` or `cancelled`."""
    dry_run: bool
    preset: Preset | None
    name: str | None
    size_bytes: int
    position_bytes: int
    """How much of the file has been read."""
    created: int
    updated: int
    unchanged: int
    rejected: int
    warnings: list[ImportNotice]
    rejected_rows: list[RejectedRow]
    """The first 1,000 rejected rows; `rejected` counts all."""
    error: str | None
    """Why the file could not be imported, if the state is `failed`."""
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None


class StoredImport(ImportJob):
    """An import as stored."""

    columns: list[str]
    constants: list[str]
    raw: bool
    format: Format
    file_id: str
    actor_id: str
    address: str
    request_id: str
    without_id: int

    @property
    def is_over(self) -> bool:
        return self.state not in ACTIVE

"""What an import must remember of a whole file: on disk, so that its memory does not depend on the file's size.

Uses SQLite's private temporary databases, which keep a few MiB in memory and disappear when they are closed.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from shop_api.features.products.models import Product
from shop_api.features.products.transfer.identity import id_of

MAX_ROWS = 5_000
"""Rows of one handle, all of which are in memory at once."""
_SCHEMA = """
    CREATE TABLE rows (
        number INTEGER PRIMARY KEY, handle TEXT NOT NULL, sku TEXT, is_variant INTEGER NOT NULL, cells TEXT NOT NULL
    )
"""
_INDEX = "CREATE INDEX by_handle ON rows (handle, number)"
# A handle without any row that looks like a variant has one: its first row.
_PLAIN_IDS = """
    CREATE TABLE plain_ids AS
    SELECT id, COUNT(*) AS times FROM (
        SELECT id_of(sku) AS id FROM rows WHERE sku IS NOT NULL
        UNION ALL
        SELECT id_of(handle) FROM rows GROUP BY handle HAVING COUNT(sku) = 0 AND SUM(is_variant) <= 1
    ) GROUP BY id HAVING times > 1
"""
_IN_ORDER = """
    SELECT rows.number, rows.handle, rows.cells FROM rows
    JOIN (SELECT handle, MIN(number) AS first FROM rows GROUP BY handle) AS handles ON handles.handle = rows.handle
    ORDER BY handles.first, rows.number
"""


def _private() -> sqlite3.Connection:
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8192")
    database.execute("BEGIN")  # one transaction for all: it is never committed
    return database


class StoredRow(NamedTuple):
    """A row of the file, by the name of the column; cells without text are absent."""

    number: int
    values: dict[str, str]


class RowsByHandle:
    """The rows of a file, gathered by handle."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._database = _private()
        self._database.create_function("id_of", 1, id_of, deterministic=True)
        self._database.execute(_SCHEMA)

    def add(self, number: int, handle: str, sku: str | None, is_variant: bool, values: Mapping[str, Any]) -> None:
        cells = json.dumps([values.get(column) for column in self._columns])
        row = (number, handle, sku, is_variant, cells)
        self._database.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", row)

    def handles(self) -> Iterator[list[StoredRow]]:
        """Yield the rows of each handle, in the order in which the handles first occur. After MAX_ROWS rows of one
        handle, the others come without values."""
        for statement in (_INDEX, _PLAIN_IDS, "CREATE INDEX by_id ON plain_ids (id)"):
            self._database.execute(statement)
        gathered: list[StoredRow] = []
        last = None
        for number, handle, cells in self._database.execute(_IN_ORDER):
            if handle != last and gathered:
                yield gathered
                gathered = []
            last = handle
            gathered.append(self._row(number, cells) if len(gathered) < MAX_ROWS else StoredRow(number, {}))
        if gathered:
            yield gathered

    def _row(self, number: int, cells: str) -> StoredRow:
        values = zip(self._columns, json.loads(cells), strict=True)
        return StoredRow(number, {column: cell for column, cell in values if cell})

    def is_unique(self, plain_id: str) -> bool:
        """Return whether at most one variant of the file gets this id from its SKU or handle alone."""
        return not self._database.execute("SELECT 1 FROM plain_ids WHERE id = ?", (plain_id,)).fetchone()


class ProductsByGroup:
    """The products of a catalogue, gathered by group."""

    def __init__(self) -> None:
        self._database = _private()
        self._database.execute("CREATE TABLE products (handle TEXT, place TEXT, id TEXT, grouped INTEGER, json TEXT)")

    def add(self, product: Product) -> None:
        handle, is_grouped = product.group or product.product_id, product.group is not None
        place = f"{product.position or 0:07d}{product.created_at.timestamp():017.6f}"
        row = (handle, place, product.product_id, is_grouped, product.model_dump_json())
        self._database.execute("INSERT INTO products VALUES (?, ?, ?, ?, ?)", row)

    def groups(self) -> Iterator[list[Product]]:
        """Yield the products of each group in their order, and each product without a group alone."""
        gathered: list[Product] = []
        order = "SELECT json FROM products ORDER BY handle, grouped, place, id"
        for (text,) in self._database.execute(order):
            product = Product.model_validate_json(text)
            if gathered and (product.group is None or product.group != gathered[0].group):
                yield gathered
                gathered = []
            gathered.append(product)
        if gathered:
            yield gathered


class SeenIds:
    """The product ids of the rows so far."""

    def __init__(self) -> None:
        self._database = _private()
        self._database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID")

    def add(self, product_id: str, number: int) -> int | None:
        """Remember the id of a row. Return the number of the earlier row that has it, if there is one."""
        added = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (product_id, number))
        if added.rowcount:
            return None
        [earlier] = self._database.execute("SELECT number FROM seen WHERE id = ?", (product_id,)).fetchone()
        return int(earlier)

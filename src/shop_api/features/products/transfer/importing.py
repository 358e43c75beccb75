"""Import of rows into the catalogue, in batches: adds new ids, replaces products that differ, skips the others.

An interrupted import can be run again: rows that are stored already count as unchanged.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Literal, NamedTuple, Protocol

from uuid_utils import uuid7

from shop_api.features.products.models import Product, ProductIn
from shop_api.features.products.repository import ProductRepository
from shop_api.features.products.transfer import shopify
from shop_api.features.products.transfer.conversion import InvalidRow
from shop_api.features.products.transfer.formulas import unescaped
from shop_api.features.products.transfer.mapping import MappingError, RowMapping, parse_assignments
from shop_api.features.products.transfer.rows import Row, RowFile
from shop_api.kernel.clock import Clock
from shop_api.kernel.versions import first_version

Preset = Literal["shopify"]

_BATCH = 1000


@dataclass
class ImportResult:
    """Numbers of rows by outcome."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    without_id: int = 0
    """Created rows that had no id. Importing them again would create them again."""

    @property
    def rows(self) -> int:
        return self.created + self.updated + self.unchanged + self.rejected


class Rejected(NamedTuple):
    """A row that was not imported, and the reason."""

    number: int
    product_id: str
    reason: str


class Plan(NamedTuple):
    """The rows of a file and their mapping to products."""

    rows: Iterator[Row]
    mapping: RowMapping


def plan(
    source: RowFile,
    preset: Preset | None,
    columns: Sequence[str],
    constants: Sequence[str],
    *,
    raw: bool = False,
) -> Plan:
    """Return the plan for `source`. `columns` and `constants` are assignments of the form `field=value`.

    Cells of a CSV file are unescaped (see `formulas`) unless `raw`. Those of a preset never are: other systems do not
    escape cells in this way, so an apostrophe there is part of the text.

    Raises MappingError if they are invalid or do not match the columns of `source`.
    """
    mapping = RowMapping(
        parse_assignments(columns),
        parse_assignments(constants),
        strict=not columns and preset is None,
        typed=source.columns is None,
    )
    if source.columns is not None:
        mapping.check(source.columns)
    if preset is None:
        as_written = raw or source.columns is None
        return Plan(source.rows if as_written else map(_unescaped, source.rows), mapping)
    if missing := [name for name in shopify.COLUMNS if name not in (source.columns or [])]:
        raise MappingError(f"this is no CSV export of Shopify: there is no column {missing[0]}")
    return Plan(shopify.variants(source.rows), mapping)


def _unescaped(row: Row) -> Row:
    return row._replace(values={column: unescaped(cell) for column, cell in row.values.items()})


class Candidate(NamedTuple):
    """A row with a valid product."""

    number: int
    product_id: str
    product: ProductIn


class Batch(NamedTuple):
    """Up to 1000 rows, converted or rejected."""

    candidates: list[Candidate]
    rejected: list[Rejected]


class Products(Protocol):
    """Storage of an import: the repository, or DryRunRepository in a dry run."""

    async def find_many(self, product_ids: Collection[str]) -> dict[str, Product]: ...

    async def put_many(self, new: Sequence[Product], changed: Sequence[Product]) -> set[str]: ...


class DryRunRepository:
    """Stores nothing in the database, but returns the last 10,000 written products as if they were stored."""

    _MAX_REMEMBERED = 10_000

    def __init__(self, products: ProductRepository) -> None:
        self._products = products
        self._written: dict[str, Product] = {}

    async def find_many(self, product_ids: Collection[str]) -> dict[str, Product]:
        written = {id_: self._written[id_] for id_ in product_ids if id_ in self._written}
        return await self._products.find_many(product_ids) | written

    async def put_many(self, new: Sequence[Product], changed: Sequence[Product]) -> set[str]:
        self._written |= {product.product_id: product for product in (*new, *changed)}
        for id_ in list(self._written)[: -self._MAX_REMEMBERED]:
            del self._written[id_]
        return set()


class Importer:
    """Imports the rows of one file."""

    def __init__(
        self, products: Products, mapping: RowMapping, clock: Clock, reject: Callable[[Rejected], None]
    ) -> None:
        self.result = ImportResult()
        self._products = products
        self._mapping = mapping
        self._clock = clock
        self._write_rejected = reject

    async def run(self, rows: Iterator[Row], after_batch: Callable[[ImportResult], None]) -> None:
        """Import all `rows`. Reads the next batch while storing the current one."""
        batch = self._read(rows)
        while batch is not None:
            batch, _ = await asyncio.gather(asyncio.to_thread(self._read, rows), self._store(batch))
            after_batch(self.result)

    def _read(self, rows: Iterator[Row]) -> Batch | None:
        batch = Batch([], [])
        for row in islice(rows, _BATCH):
            if row.problem is not None:
                batch.rejected.append(Rejected(row.number, "", row.problem))
                continue
            try:
                product = self._mapping.product(row.values)
            except InvalidRow as error:
                batch.rejected.append(Rejected(row.number, self._mapping.id_in(row.values), str(error)))
            else:
                batch.candidates.append(Candidate(row.number, product.product_id or str(uuid7()), product))
        return batch if batch.candidates or batch.rejected else None

    async def _store(self, batch: Batch) -> None:
        for rejected in batch.rejected:
            self._reject(rejected)
        for candidates in _split_duplicate_ids(batch.candidates):
            conflicts = await self._put(candidates)
            # A concurrent write changed these between read and write: retry once on top of that change.
            for id_ in await self._put({id_: candidates[id_] for id_ in conflicts}):
                reason = "was changed by others twice during the import; import it again"
                self._reject(Rejected(candidates[id_].number, id_, reason))

    def _reject(self, rejected: Rejected) -> None:
        self.result.rejected += 1
        self._write_rejected(rejected)

    async def _put(self, candidates: dict[str, Candidate]) -> set[str]:
        """Store `candidates` and count the results. Return the ids that conflicted with a concurrent write."""
        if not candidates:
            return set()
        stored = await self._products.find_many(candidates)
        now = self._clock()
        new: list[Product] = []
        changed: list[Product] = []
        for id_, candidate in candidates.items():
            before = stored.get(id_)
            after = _next(candidate, before, now)
            if before is None:
                new.append(after)
            elif not before.has_same_content(after.content()):
                changed.append(after)
        conflicts = await self._products.put_many(new, changed)
        self.result.created += sum(product.product_id not in conflicts for product in new)
        self.result.updated += sum(product.product_id not in conflicts for product in changed)
        self.result.unchanged += len(candidates) - len(new) - len(changed)
        self.result.without_id += sum(candidate.product.product_id is None for candidate in candidates.values())
        return conflicts


def _next(candidate: Candidate, before: Product | None, now: datetime) -> Product:
    return Product.model_construct(
        **dict(candidate.product)
        | {
            "product_id": candidate.product_id,
            "version": before.version + 1 if before else first_version(now),
            "created_at": before.created_at if before else now,
            "updated_at": now,
        }
    )


def _split_duplicate_ids(candidates: Sequence[Candidate]) -> list[dict[str, Candidate]]:
    """Split candidates into the fewest rounds with unique ids. Rows with the same id keep their order."""
    rounds: list[dict[str, Candidate]] = []
    seen: dict[str, int] = {}
    for candidate in candidates:
        place = seen[candidate.product_id] = seen.get(candidate.product_id, -1) + 1
        if place == len(rounds):
            rounds.append({})
        rounds[place][candidate.product_id] = candidate
    return rounds

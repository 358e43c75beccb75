"""Import of rows into the catalogue, in batches: adds new products, changes those that differ, skips the others.

Every row is stored or rejected, and no row replaces what another row of the same file has stored. An interrupted
import can be run again: rows that are stored already count as unchanged.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from uuid_utils import uuid7

from shop_api.features.products.models import Product
from shop_api.features.products.transfer import shopify
from shop_api.features.products.transfer.changes import InvalidRow, ProductChanges
from shop_api.features.products.transfer.formulas import unescaped
from shop_api.features.products.transfer.identity import Variant
from shop_api.features.products.transfer.mapping import MappingError, RowMapping, parse_assignments
from shop_api.features.products.transfer.matching import Match, matches_of
from shop_api.features.products.transfer.results import ImportResult, Rejected
from shop_api.features.products.transfer.row import Row
from shop_api.features.products.transfer.rows import RowFile
from shop_api.features.products.transfer.shopify_columns import COLUMNS, REQUIRED, columns_of
from shop_api.features.products.transfer.spill import SeenIds
from shop_api.features.products.transfer.targets import Products
from shop_api.kernel.clock import Clock

Preset = Literal["shopify"]

_BATCH = 1000


class Plan(NamedTuple):
    """The rows of a file and their mapping to products."""

    rows: Iterator[Row]
    mapping: RowMapping


def mapping_of(preset: Preset | None, columns: Sequence[str], constants: Sequence[str], *, typed: bool) -> RowMapping:
    """Return the mapping of assignments of the form `field=value`. Raises MappingError if they are not valid."""
    return RowMapping(
        parse_assignments(columns),
        parse_assignments(constants),
        strict=not columns and preset is None,
        typed=typed,
    )


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
    mapping = mapping_of(preset, columns, constants, typed=source.columns is None)
    if source.columns is not None:
        mapping.check(source.columns)
    if preset is None:
        as_written = raw or source.columns is None
        return Plan(source.rows if as_written else map(_unescaped, source.rows), mapping)
    if missing := REQUIRED - columns_of(source.columns or []).keys():
        names = " or ".join(COLUMNS[min(missing)])
        raise MappingError(f"this is no CSV export of Shopify: there is no column {names}")
    return Plan(shopify.variants(source.rows, source.columns or []), mapping)


def _unescaped(row: Row) -> Row:
    return row._replace(values={column: unescaped(cell) for column, cell in row.values.items()})


class Candidate(NamedTuple):
    """A valid row."""

    number: int
    product_id: str
    """Preliminary if there is a variant."""
    changes: ProductChanges
    variant: Variant | None
    position: int | None
    """The place among the rows of its group, for a new product."""


class Batch(NamedTuple):
    """About 1000 rows, converted or rejected, with all rows of a handle in the same batch."""

    candidates: list[Candidate]
    rejected: list[Rejected]
    variants: dict[str, list[Variant]]
    """All variants by handle, also those of rejected rows."""


class Importer:
    """Imports the rows of one file."""

    def __init__(
        self,
        products: Products,
        mapping: RowMapping,
        clock: Clock,
        reject: Callable[[Rejected], None],
        *,
        resumed: ImportResult | None = None,
        began_at: datetime | None = None,
    ) -> None:
        """`resumed` is the result of the recorded batches of an interrupted import, and `began_at` when it began. Its
        last batch may be stored without being recorded: then the products tell what became of them."""
        self.result = resumed or ImportResult()
        self._recorded = self.result.rows
        self._began_at = began_at
        self._products = products
        self._mapping = mapping
        self._clock = clock
        self._write_rejected = reject
        self._seen = SeenIds()
        self._in_group = Counter[str]()

    async def run(self, rows: Iterator[Row]) -> AsyncIterator[ImportResult]:
        """Import all `rows`. Yield the result after each batch. Reads the next batch while storing one."""
        batches = _batches(rows)
        batch = await asyncio.to_thread(self._read, batches)
        passed = 0
        while batch is not None:
            passed += len(batch.candidates) + len(batch.rejected)
            work = self._pass_over(batch) if passed <= self._recorded else self._store(batch)
            batch, _ = await asyncio.gather(asyncio.to_thread(self._read, batches), work)
            if passed > self._recorded:
                self._began_at = None
            yield self.result

    async def _pass_over(self, batch: Batch) -> None:
        for candidate in await self._identified(batch):
            self._seen.add(candidate.product_id, candidate.number)

    def _read(self, batches: Iterator[list[Row]]) -> Batch | None:
        rows = next(batches, None)
        if rows is None:
            return None
        batch = Batch([], [], {})
        for row in rows:
            if row.variant:
                batch.variants.setdefault(row.variant.handle, []).append(row.variant)
            if row.problem is not None:
                batch.rejected.append(Rejected(row.number, "", row.problem))
                continue
            try:
                batch.candidates.append(self._candidate(row))
            except InvalidRow as error:
                batch.rejected.append(Rejected(row.number, self._mapping.id_in(row.values), str(error)))
        return batch

    def _candidate(self, row: Row) -> Candidate:
        changes = self._mapping.changes(row.values)
        changes.warnings.extend(row.omissions)
        position = row.variant.position if row.variant else None
        if position is None and (group := changes.fields.get("group")):
            self._in_group[group] += 1
            position = self._in_group[group]
        return Candidate(row.number, changes.product_id or str(uuid7()), changes, row.variant, position)

    async def _store(self, batch: Batch) -> None:
        for rejected in batch.rejected:
            self._reject(rejected)
        candidates = {}
        for candidate in await self._identified(batch):
            earlier = self._seen.add(candidate.product_id, candidate.number)
            if earlier is None:
                candidates[candidate.product_id] = candidate
            else:
                reason = f"the same product is in row {earlier}"
                self._reject(Rejected(candidate.number, candidate.product_id, reason))
        conflicts = await self._put(candidates)
        # A concurrent write changed these between read and write: retry once on top of that change.
        for id_ in await self._put({id_: candidates[id_] for id_ in conflicts}):
            reason = "was changed by others twice during the import; import it again"
            self._reject(Rejected(candidates[id_].number, id_, reason))

    async def _identified(self, batch: Batch) -> list[Candidate]:
        """Return the candidates with the ids of the products that their variants are."""
        if not batch.variants:
            return batch.candidates
        matches = await matches_of(batch.variants, self._products)
        return [
            _identified(candidate, matches[candidate.variant]) if candidate.variant else candidate
            for candidate in batch.candidates
        ]

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
        unchanged: list[str] = []
        for id_, candidate in candidates.items():
            before = stored.get(id_)
            try:
                if before is None:
                    new.append(candidate.changes.new_product(id_, candidate.position, now))
                    continue
                after = candidate.changes.next_version(before, now)
            except InvalidRow as error:
                self._reject(Rejected(candidate.number, id_, str(error)))
                continue
            if before.has_same_content(after.content()):
                self._count_unchanged(before)
                unchanged.append(id_)
            else:
                changed.append(after)
        conflicts = await self._products.put_many(new, changed)
        self._count(candidates, new, changed, unchanged, conflicts)
        return conflicts

    def _count_unchanged(self, product: Product) -> None:
        """Count a product that is as the row says, perhaps because the interrupted import has stored it."""
        if self._began_at is None or product.updated_at < self._began_at:
            self.result.unchanged += 1
        elif product.created_at < self._began_at:
            self.result.updated += 1
        else:
            self.result.created += 1

    def _count(
        self,
        candidates: dict[str, Candidate],
        new: Sequence[Product],
        changed: Sequence[Product],
        unchanged: Sequence[str],
        conflicts: set[str],
    ) -> None:
        created = {product.product_id for product in new} - conflicts
        updated = {product.product_id for product in changed} - conflicts
        self.result.created += len(created)
        self.result.updated += len(updated)
        stored = created | updated | set(unchanged)
        for id_, candidate in candidates.items():  # in the order of the file
            if id_ in stored:
                self.result.warn(candidate.changes.warnings, candidate.number)
                self.result.without_id += candidate.changes.product_id is None and not candidate.variant


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield lists of about _BATCH rows. Never separates the rows of one handle."""
    batch: list[Row] = []
    for row in rows:
        handle = row.variant and row.variant.handle
        if len(batch) >= _BATCH and (handle is None or not batch[-1].variant or batch[-1].variant.handle != handle):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _identified(candidate: Candidate, found: Match) -> Candidate:
    if not found.is_grouped:
        candidate.changes.fields.pop("group", None)
    return candidate._replace(product_id=found.product_id)

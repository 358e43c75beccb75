"""Output of an import: progress, rejected rows with reasons, and the result."""

import csv
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from shop_api.features.products.transfer.formulas import escaped
from shop_api.features.products.transfer.results import ImportResult, Rejected
from shop_api.features.products.transfer.rows import RowFile

_SECONDS_BETWEEN_LINES = 10


@contextmanager
def progress(source: RowFile, say: Callable[[str], None]) -> Iterator[Callable[[ImportResult], None]]:
    """Show progress on standard error: a bar on a terminal, otherwise a line every 10 seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines_now_and_then(source, say)
        return
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=source.size or None)
        yield lambda result: bar.update(task, completed=source.position(), description=f"{result.rows:,} rows")


def _lines_now_and_then(source: RowFile, say: Callable[[str], None]) -> Callable[[ImportResult], None]:
    last = time.monotonic()

    def show_line(result: ImportResult) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{result.rows:,} rows" + (f", {source.position() / source.size:.0%}" if source.size else ""))

    return show_line


@contextmanager
def rejections(listing: Path, source: RowFile) -> Iterator[Callable[[Rejected], None]]:
    """Yield a function that writes a rejected row to a CSV file, which is removed if no row is rejected.

    Both texts come from the imported file, so they are escaped for spreadsheets."""
    count = 0

    def reject(rejected: Rejected) -> None:
        nonlocal count
        count += 1
        write([rejected.number, escaped(rejected.product_id), escaped(rejected.reason)])

    # Rejected values may contain unpaired surrogates, which UTF-8 cannot encode.
    with listing.open("w", encoding="utf-8", errors="backslashreplace", newline="", buffering=1) as out:
        write = csv.writer(out).writerow
        write([source.unit, "product_id", "reason"])
        try:
            yield reject
        finally:
            if not count and listing.is_file():
                listing.unlink()


def show(result: ImportResult, dry_run: bool) -> None:
    """Print the counts as a table on standard output."""
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name in ("created", "updated", "unchanged", "rejected"):
        table.add_row(name, f"{getattr(result, name):,}")
    console = Console()
    if dry_run:
        console.print("dry run, nothing was stored:")
    console.print(table)


def warnings(result: ImportResult, unseen: Collection[str], listing: Path, source: RowFile) -> Iterator[str]:
    """Yield warnings about the result."""
    if source.encoding != "UTF-8":
        yield f"the file was read as {source.encoding}"
    for kind, found in result.warnings.items():
        detail = f": {found.detail}" if found.detail else ""
        yield f"{kind} ({found.count:,} rows, first in {source.unit} {found.number}{detail})"
    if unseen and result.rows:
        yield f"no row has {', '.join(sorted(unseen))}, which --map names"
    if result.without_id:
        yield f"{result.without_id:,} rows have no product_id and got new ones; imported again, they would once more"
    if result.rejected:
        yield f"{listing} says which rows were rejected, and why"

"""How far a demo has got."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

_PRODUCTS_BETWEEN_LINES = 100


@contextmanager
def progress(total: int, say: Callable[[str], None]) -> Iterator[Callable[[int], None]]:
    """Shows on standard error how many of `total` products are done: a bar on a terminal, elsewhere a few lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(total, say)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("products", total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(total: int, say: Callable[[str], None]) -> Callable[[int], None]:
    def show(done: int) -> None:
        if done % _PRODUCTS_BETWEEN_LINES == 0 or done == total:
            say(f"{done:,} of {total:,} products")

    return show

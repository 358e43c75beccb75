"""`shop-api products …`: import and export of the catalogue."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal, cast

import typer

from shop_api.cli.terminal import engines, fail, say, settings_or_exit
from shop_api.features.products.transfer.row import UnreadableFile
from shop_api.features.products.transfer.rows import Format, format_of, open_rows
from shop_api.settings import Settings
from shop_api.storage.mongo.client import PyMongoError, brief_message

if TYPE_CHECKING:
    from shop_api.features.products.transfer.importing import Plan
    from shop_api.features.products.transfer.results import ImportResult, Rejected

products = typer.Typer(no_args_is_help=True, help="Import and export the catalogue.")


@products.command("import")
def import_products(
    file: Annotated[Path, typer.Argument(help="A JSON array, JSON Lines or CSV, in UTF-8.")],
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN",
            help="Map a field to a column: product_id=sku, brand=vendor.name, attributes.size=Size. price is a"
            " decimal, price.amount is in minor units. With any --map, columns that match no field are ignored.",
        ),
    ] = None,
    constants: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field for all rows: price.currency=USD, status=draft."),
    ] = None,
    preset: Annotated[Literal["shopify"] | None, typer.Option(help="The system that exported the file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would change without storing it.")] = False,
    rejected: Annotated[
        Path | None, typer.Option(help="File for rejected rows, by default <name of FILE>.rejected.csv here.")
    ] = None,
    form: Annotated[Format | None, typer.Option("--format", help="Needed if FILE has no known suffix.")] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Keep the apostrophe before =, +, - or @ in CSV: for `export --raw`.")
    ] = False,
) -> None:
    """Create and update products from a file. Can run while the service is running.

    Can be interrupted and run again. Exits with 1 if rows were rejected, with 2 if it could not start.
    """
    from shop_api.cli import import_report as report
    from shop_api.features.products.transfer import importing, mapping

    listing = rejected or Path(f"{file.stem}.rejected.csv")
    if listing.exists() and file.exists() and listing.samefile(file):
        fail(f"{listing} cannot be the input and the list of rejected rows", 2)
    with ExitStack() as stack:
        try:
            source = stack.enter_context(open_rows(file, format_of(file, form)))
            plan = importing.plan(source, preset, columns or [], constants or [], raw=raw)
            reject = stack.enter_context(report.rejections(listing, source))
        except (UnreadableFile, mapping.MappingError) as error:
            fail(str(error), 2)
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}", 2)
        settings = stack.enter_context(engines(settings_or_exit(), join=True))
        show = stack.enter_context(report.progress(source, say))
        stack.enter_context(_failures_in_words())
        result = asyncio.run(_import(settings, file.name, plan, reject, show, dry_run))
    report.show(result, dry_run)
    for warning in report.warnings(result, plan.mapping.unseen, listing, source):
        say(warning)
    if result.rejected:
        raise typer.Exit(1)


@contextmanager
def _failures_in_words() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        fail(f"MongoDB failed: {brief_message(error)}; run the same command again to continue")


async def _import(
    settings: Settings,
    file: str,
    plan: "Plan",
    reject: "Callable[[Rejected], None]",
    show: "Callable[[ImportResult], None]",
    dry_run: bool,
) -> "ImportResult":
    from shop_api.cli.operator import operator
    from shop_api.container import open_services
    from shop_api.features.products.repository import ProductRepository
    from shop_api.features.products.transfer.importing import Importer
    from shop_api.features.products.transfer.recording import recorded
    from shop_api.features.products.transfer.targets import DryRunRepository

    async with open_services(settings) as services:
        catalogue = ProductRepository(services.database)
        target = DryRunRepository(catalogue) if dry_run else catalogue
        importer = Importer(target, plan.mapping, services.clock, reject)
        entry = nullcontext() if dry_run else recorded(importer.result, file, services.audit, operator())
        async with entry:
            async for result in importer.run(plan.rows):
                show(result)
        return importer.result


@products.command("export")
def export_products(
    file: Annotated[Path | None, typer.Argument(help="Standard output if absent.")] = None,
    form: Annotated[
        Literal["json", "jsonl", "csv", "shopify"] | None,
        typer.Option("--format", help="Default: by suffix of FILE, or jsonl. shopify: CSV for Shopify's import."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Do not escape CSV cells that a spreadsheet would run as formulas.")
    ] = False,
) -> None:
    """Write all products of any status in a format that `import` reads."""
    from shop_api.features.products.transfer.exporting import whole_file
    from shop_api.features.products.transfer.shopify_export import SeveralCurrencies

    output = cast(TextIOWrapper, sys.stdout)
    output.reconfigure(encoding="utf-8", newline="")
    try:
        form = form or (format_of(file) if file else "jsonl")
        with (
            whole_file(file) if file else nullcontext(output) as out,
            engines(settings_or_exit(), join=True) as to,
            _failures_in_words(),
        ):
            count, different = asyncio.run(_export(to, form, out, raw))
    except UnreadableFile as error:
        fail(str(error), 2)
    except SeveralCurrencies:
        fail("the catalogue has prices in more than one currency, which a file for Shopify cannot say")
    except BrokenPipeError:  # the reader has closed the pipe
        raise
    except OSError as error:
        fail(f"{file or 'standard output'}: {error.strerror}", 2)
    say(f"wrote {count:,} products")
    for field, number in different.most_common():
        say(f"the file cannot say {field} of {number:,} products: imported again, they would differ")


async def _export(settings: Settings, form: str, out: IO[str], raw: bool) -> tuple[int, Counter[str]]:
    from shop_api.container import open_services
    from shop_api.features.products.repository import ProductRepository
    from shop_api.features.products.transfer.exporting import export
    from shop_api.features.products.transfer.shopify_export import export_shopify

    async with open_services(settings) as services:
        products = ProductRepository(services.database).each()
        if form == "shopify":
            return await export_shopify(products, out)
        return await export(products, cast(Format, form), out, raw=raw), Counter()

"""Measures this service beside others; README.md tells what and how."""

import argparse
import datetime
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import accounts
import catalogue
import load
import machine
import operating
import reads
from contenders import Contenders, StartError
from measuring import Bench, Scenario, measured
from pymongo import MongoClient
from redis import Redis
from rich.console import Console

from shop_api import embedded
from shop_api.settings import Settings
from shop_api.settings import load as load_settings

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
_OTHERS = HERE.parent / ".venv-bench" / "bin" / "python"
# What does not depend on the catalogue is measured with the largest up to this size.
_USUAL = 100_000

SCENARIOS = {
    one.name: one
    for module in (reads, accounts, operating)
    for one in vars(module).values()
    if isinstance(one, Scenario)
}

console = Console(highlight=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; all if absent")
    parser.add_argument("--products", default="1000,100000", help="sizes of the catalogue, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="to try: 1,000 products, one round of one second")
    parser.add_argument("--save", action="store_true", help="into results.json and docs/benchmarks.md")
    parser.add_argument("--others", type=Path, default=_OTHERS, help="a Python with requirements.txt installed")
    given = parser.parse_args()
    if unknown := set(given.scenarios) - set(SCENARIOS):
        parser.error(f"no scenario is called {' or '.join(sorted(unknown))}")
    if given.quick:
        given.products, given.rounds, given.seconds = "1000", 1, 1
    given.sizes = [int(size) for size in given.products.split(",")]
    return given


def main() -> None:
    given = arguments()
    load.needed()
    if not given.others.exists():
        raise SystemExit(f"{given.others} is missing: make bench installs it, or name another with --others")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is ended that was started
    try:
        with tempfile.TemporaryDirectory(prefix="shop-bench-") as folder, _engines(Path(folder)) as (settings, own):
            for size in given.sizes:
                _measure(given, settings, size, Path(folder), embedded_mongo=own)
    except (StartError, load.LoadError, embedded.EngineError) as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if given.save:
        subprocess.run([given.others, HERE / "report.py"], check=True)


@contextmanager
def _engines(folder: Path) -> Iterator[tuple[Settings, bool]]:
    """Those that the environment names, else the embedded ones; and whether MongoDB is the embedded one."""
    mongo_url, redis_url = os.environ.get("SHOP_BENCH_MONGO_URL"), os.environ.get("SHOP_BENCH_REDIS_URL")
    for name in [name for name in os.environ if name.startswith("SHOP_")]:
        del os.environ[name]  # contenders get only what is meant for them
    wanted = load_settings(
        data_dir=folder / "engines", mongo_url=mongo_url, redis_url=redis_url, jwt_secret=secrets.token_hex(32)
    )
    with embedded.running(wanted, console.print) as settings:
        with Redis.from_url(settings.required()[1]) as redis:
            if redis.dbsize():
                raise SystemExit("SHOP_BENCH_REDIS_URL: that database is not empty, and would be emptied")
        yield settings, mongo_url is None


def _measure(given: argparse.Namespace, settings: Settings, size: int, folder: Path, *, embedded_mongo: bool) -> None:
    mongo_url, redis_url, _ = settings.required()
    settings = settings.model_copy(update={"mongo_db": f"shop_bench_{secrets.token_hex(4)}"})
    contenders = Contenders(settings, folder, given.others)
    try:
        _fill(contenders, size, folder)
        bench = Bench(contenders, size, given.seconds, folder, console.print)
        found = {}
        for wanted in _chosen(given.scenarios, given.sizes, size):
            with Redis.from_url(redis_url) as redis:
                redis.flushdb()
            started = time.monotonic()
            found[wanted.name] = measured(wanted, bench, given.rounds)
            _show(wanted, size, found[wanted.name], time.monotonic() - started)
        if given.save:
            about = machine.described(contenders, given.others, embedded_mongo)
            _save(size, found, about | {"seconds of each measurement": given.seconds})
    finally:
        if not embedded_mongo:  # which takes its time over that, and goes with its folder
            with MongoClient[dict[str, Any]](mongo_url) as client:
                client.drop_database(settings.mongo_db)
        with Redis.from_url(redis_url) as redis:
            redis.flushdb()


def _fill(contenders: Contenders, size: int, folder: Path) -> None:
    started = time.monotonic()
    file = folder / f"catalogue-{size}.jsonl"
    catalogue.write(file, size)
    contenders.import_file(file, contenders.settings.mongo_db)
    file.unlink()
    console.print(f"\n[bold]{size:,} products[/], imported in {time.monotonic() - started:.0f} s")


def _chosen(names: Sequence[str], sizes: Sequence[int], size: int) -> Iterator[Scenario]:
    once = max((one for one in sizes if one <= _USUAL), default=None)
    for wanted in SCENARIOS.values():
        if (names and wanted.name not in names) or size < wanted.least:
            continue
        if wanted.each_size or names or size == once:
            yield wanted


def _show(wanted: Scenario, size: int, found: dict[str, Any], seconds: float) -> None:
    console.print(f"\n[bold]{wanted.name}[/] ({size:,}): {wanted.title}, {wanted.unit} [dim]{seconds:.0f} s[/]")
    for name, figure in found["figures"].items():
        shown = f"{figure['median']:12,.0f}" if figure["median"] >= 100 else f"{figure['median']:12,.2f}"
        late = f"  p99 {figure['p99_ms']:,.1f} ms" if "p99_ms" in figure else ""
        by = "  " + ", ".join(f"{times}× {who}" for who, times in figure.get("answered_by", {}).items())
        console.print(f"{shown}  {name:36}{late:18}[dim]{by}[/]", soft_wrap=True)
    for note in found["notes"]:
        console.print(f"              {note}", style="yellow")


def _save(size: int, found: dict[str, Any], about: dict[str, Any]) -> None:
    """Beside what was measured before with other scenarios or sizes."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"sizes": {}}
    of_size = results["sizes"].setdefault(str(size), {"scenarios": {}})
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    of_size["machine"] = about
    of_size["scenarios"] |= {name: one | {"measured": day} for name, one in found.items()}
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

"""The scenarios of an operator: import, memory, start."""

import shutil
import sys
import time
from collections.abc import Mapping
from itertools import count

import catalogue
import load
from contenders import Server, script
from load import Load, Sample
from measuring import Bench, Measure, scenario
from pymongo import MongoClient

from shop_api.embedded.child import child

_MOST = 30_000
_runs = count()


@scenario("import", "The catalogue (at most 30,000 products of it) into an empty database", "products/s")
def importing(at: Bench) -> Mapping[str, Measure]:
    """The whole command with its start on one side, on the other only the inserting of what it has stored."""
    products = min(at.size, _MOST)
    file = at.folder / "import.jsonl"
    catalogue.write(file, products)
    url, _, _ = at.contenders.settings.required()

    def command(_: int) -> Sample:
        name = f"{at.contenders.settings.mongo_db}-{next(_runs)}"
        try:
            started = time.perf_counter()
            at.contenders.import_file(file, name)
            return Sample(products / (time.perf_counter() - started))
        finally:
            _drop(url, name)

    def raw(driver: str) -> Measure:
        def insert(_: int) -> Sample:
            name = f"{at.contenders.settings.mongo_db}-{next(_runs)}"
            source = at.contenders.settings.mongo_db
            try:
                return at.contenders.driver("insert", database=name, source=source, most=products, driver=driver)
            finally:
                _drop(url, name)

        return insert

    return {
        "shop-api products import": command,
        "insert_many, Motor": raw("motor"),
        "insert_many, PyMongo Async": raw("pymongo"),
    }


def _drop(url: str, name: str) -> None:
    with MongoClient[dict[str, object]](url) as client:
        client.drop_database(name)


@scenario("memory", "Resident memory of one instance", "MiB")
def memory(at: Bench) -> Mapping[str, Measure]:
    """full_memory.py fills the tier to its bound, beside an instance that has only served."""
    use, wanted = at.contenders, [f"/products/{id_}" for id_ in at.ids]
    servers = {
        "service, after reads": at.start(use.service()),
        "service, 64 MiB tier full": at.start(use.filled_service()),
        "original with its master": at.start(use.original()),
        "Eve with its master": at.start(use.eve()),
    }
    for server in servers.values():
        load.run(server.url, Load(wanted, 16), at.seconds)

    def resident(server: Server) -> Measure:
        return lambda _: Sample(server.resident_mib())

    return {name: resident(server) for name, server in servers.items()}


@scenario("start", "From the command to ready", "s")
def start(at: Bench) -> Mapping[str, Measure]:
    """With both engines embedded, in a new folder and again in one that it has used, beside the import of the app,
    which is the least that any start takes."""
    folder = at.folder / "start"

    def serve(*, new: bool) -> Measure:
        def measure(_: int) -> Sample:
            if new:
                shutil.rmtree(folder, ignore_errors=True)
            started = time.perf_counter()
            with at.contenders.running([script("shop-api"), "serve"], {"SHOP_DATA_DIR": str(folder)}):
                return Sample(time.perf_counter() - started)

        return measure

    def import_app(_: int) -> Sample:
        command = [sys.executable, "-c", "from shop_api.app import create_app"]
        started = time.perf_counter()
        with child(command, at.folder / "import.log") as process:
            process.wait()
            return Sample(time.perf_counter() - started)

    measures = {"import of the app": import_app, "first start": serve(new=True), "start": serve(new=False)}
    for measure in measures.values():
        measure(0)
    return measures

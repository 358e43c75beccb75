"""`shop-api serve` when an embedded engine stops working under it, or is stopped with it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from shop_api.cli.engine_watch import EngineWatch
from shop_api.embedded import EngineProcesses
from shop_api.settings import Settings
from support.factories import PASSWORD, a_product
from support.faults import NEEDS_PRLIMIT, fill_disk
from support.patience import PATIENCE
from support.pids import engines_on, mongo_on, redis_on, soon
from support.prefork import Forked
from support.processes import environment, started, token_of

pytestmark = pytest.mark.long


@contextmanager
def serving_on(folder: Path, log: Path, engines: Settings) -> Iterator[tuple[Forked, str]]:
    """A service on embedded engines with their data in `folder`, and its address."""
    inherited = {name: v for name, v in environment(engines).items() if not name.startswith("SHOP_")}
    own = {
        "SHOP_DATA_DIR": str(folder),
        "SHOP_PORT": "0",
        "SHOP_RATE_LIMITS": "off",
        "SHOP_LOG_LEVEL": "error",
        "SHOP_DRAIN_SECONDS": "300",  # without a database, it does not wait for that
        "SHOP_ADMIN_USERNAME": "owner",
        "SHOP_ADMIN_PASSWORD": PASSWORD,
    }
    with started(inherited | own, log) as (process, url):
        yield process, url
        process.kill()  # a service that should have ended, and has not, would drain


def last_words(log: Path) -> list[str]:
    """What it told the operator after it was ready."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("shop-api: ")]
    [ready] = [number for number, line in enumerate(lines) if "ready on" in line]
    return lines[ready + 1 :]


def test_it_ends_and_says_why_when_its_mongodb_has_ended(engines: Settings, tmp_path: Path):
    folder, log = tmp_path / "data", tmp_path / "serve.log"
    with serving_on(folder, log, engines) as (process, _):
        [pid] = mongo_on(folder)
        os.kill(pid, signal.SIGKILL)
        assert process.wait(PATIENCE) == 1
    what, remedy = last_words(log)
    assert what == f"shop-api: the embedded MongoDB on {folder}/mongo has ended"
    assert re.search(
        r"disk may be full \([\d.,]+ GiB free\).*SHOP_DATA_DIR.*start again.*mongo\.log says more", remedy
    )
    assert "Traceback" not in log.read_text()
    assert engines_on(folder) == []


@NEEDS_PRLIMIT
def test_on_a_full_disk_it_answers_503_ends_and_has_lost_nothing_when_there_is_room_again(
    engines: Settings, tmp_path: Path
):
    folder, log = tmp_path / "data", tmp_path / "serve.log"
    with serving_on(folder, log, engines) as (process, url):
        headers = {"Authorization": f"Bearer {token_of(url, 'owner', PASSWORD)}"}
        stored = [add(url, headers, f"before-{number}") for number in range(3)]
        fill_disk(folder)
        refused: list[int] = []

        def has_ended() -> bool:
            with suppress(httpx.TransportError):  # meanwhile
                refused.append(add(url, headers, f"after-{len(refused)}"))
            return process.poll() is not None

        assert soon(has_ended, PATIENCE)
        assert process.wait(PATIENCE) == 1
    assert stored == [201] * 3
    assert set(refused) == {503}
    what, _ = last_words(log)
    assert what.startswith(f"shop-api: the embedded MongoDB on {folder}/mongo ")
    assert engines_on(folder) == []
    with serving_on(folder, tmp_path / "again.log", engines) as (_, url):
        there = {product["product_id"] for product in httpx.get(f"{url}/products").json()["items"]}
    assert there >= {f"before-{number}" for number in range(3)}


def add(url: str, headers: dict[str, str], product_id: str) -> int:
    body = a_product(product_id=product_id)
    return httpx.post(f"{url}/products", json=body, headers=headers, timeout=PATIENCE).status_code


@pytest.mark.parametrize(
    ("engine", "name", "state"), [("Redis", "redis", "down"), ("Redis of the guards", "redis-guards", "up")]
)
def test_it_goes_on_without_its_redis_and_says_so_once(
    engines: Settings, tmp_path: Path, engine: str, name: str, state: str
):
    folder, log = tmp_path / "data", tmp_path / "serve.log"
    with serving_on(folder, log, engines) as (process, url):
        [pid] = redis_on(folder, name)
        os.kill(pid, signal.SIGKILL)
        assert soon(lambda: httpx.get(f"{url}/health/ready").json()["redis"] == state)
        assert soon(lambda: len(last_words(log)) == 1)
        assert httpx.get(f"{url}/products").status_code == 200
        assert token_of(url, "owner", PASSWORD)
        assert process.poll() is None
        [warning] = last_words(log)
    assert warning == (
        f"shop-api: the embedded {engine} has ended: serving goes on without it; {folder}/{name}.log says more"
    )


class TestWatch:
    """Without a service: what it makes of the processes."""

    @pytest.fixture
    def process(self) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
            yield process
            process.kill()

    def test_an_engine_that_ends_as_the_service_does_is_no_problem_yet(self, tmp_path, process):
        """systemd sends its signal to all of them, and the engines may be quicker."""
        processes = EngineProcesses()
        processes.add("MongoDB", process)
        watch = EngineWatch(tmp_path, processes)
        assert watch.problem(None) is None
        process.terminate()
        process.wait()
        assert watch.problem(None) is None
        assert "has ended" in (watch.problem(None) or "")

    def test_what_a_mongodb_elsewhere_cannot_store_is_not_for_this_process_to_end_for(self, tmp_path, process):
        watch = EngineWatch(tmp_path, EngineProcesses())
        assert watch.problem("WT_PANIC") is None

    def test_a_folder_that_is_gone_is_named(self, tmp_path, process):
        processes = EngineProcesses()
        processes.add("MongoDB", process)
        told = EngineWatch(tmp_path / "gone", processes).problem("WT_PANIC: the library has panicked") or ""
        assert "stores nothing any more: WT_PANIC: the library has panicked" in told
        assert "gone: No such file or directory" in told

"""Instances that are restarted one after the other, and instances that are killed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from e2e.conftest import ADMIN
from e2e.plain_compose import plain_compose, with_processes
from e2e.scale import amount
from e2e.stack import ROOT, Instance, Nginx, checked, nginx
from e2e.traffic import Traffic, summary
from support.processes import token_of

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="needs more than one loopback address, and /proc"),
]
ROUNDS = amount("ROLLING", 1)
KILLS = amount("KILLS", 1)


class Placed(Instance):
    """An instance at an address of its own, so that nginx can tell it by its name from the others."""

    def __init__(self, env: dict[str, str], folder: Path, host: str) -> None:
        super().__init__({**env, "SHOP_HOST": host}, folder)
        self.host = host

    def python(self, code: str) -> int:
        """Runs `code` beside it, as in its container."""
        here = code.replace("127.0.0.1:4000", f"{self.host}:{self.port}")
        return subprocess.run([sys.executable, "-Ic", here], capture_output=True).returncode


class PlacedShop(NamedTuple):
    nginx: Nginx
    instances: list[Placed]


@pytest.fixture(scope="module")
def placed(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlacedShop]:
    folder = tmp_path_factory.mktemp("restarts")
    with ExitStack() as stack:
        instances = [Placed(env, folder, f"127.0.0.{last}") for last in (11, 12, 13)]
        for instance in instances:
            stack.callback(instance.stop)
            instance.start()
        front = stack.enter_context(nginx(folder / "nginx", [f"{each.host}:{each.port}" for each in instances]))
        yield PlacedShop(front, instances)


def test_a_rolling_restart_costs_no_request(placed: PlacedShop, tmp_path: Path):
    before = placed.nginx.configuration.read_text()
    by_name = {instance.host: instance for instance in placed.instances}
    first_pids = [instance.pid for instance in placed.instances]
    does = with_processes(placed.nginx, lambda: checked(placed.nginx), by_name)
    token = token_of(placed.nginx.url, *ADMIN)
    with plain_compose(does) as compose, Traffic(placed.nginx.port, token, readers=3, writers=2) as traffic:
        env = {**os.environ, "COMPOSE": compose, "NGINX_CONF": str(placed.nginx.configuration)}
        for _ in range(ROUNDS):
            done = subprocess.run([ROOT / "deploy" / "rolling-restart.sh"], env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.splitlines()[-1] == "127.0.0.13: back"
    print(f"\n{ROUNDS} times: {dict(summary(traffic.replies))}")
    assert traffic.errors() == []
    assert not set(first_pids) & {instance.pid for instance in placed.instances}
    assert placed.nginx.configuration.read_text() == before


def test_an_instance_that_does_not_become_ready_stays_out_and_ends_the_restart(placed: PlacedShop):
    victim = placed.instances[0]
    by_name = {instance.host: instance for instance in placed.instances}
    processes = with_processes(placed.nginx, lambda: checked(placed.nginx), by_name)

    def does(arguments: list[str]) -> tuple[int, str]:
        if arguments[0] == "up":
            victim.stop()  # and the new one does not start
            return 0, ""
        return processes(arguments)

    before = placed.nginx.configuration.read_text()
    token = token_of(placed.nginx.url, *ADMIN)
    with plain_compose(does) as compose, Traffic(placed.nginx.port, token) as traffic:
        env = {**os.environ, "COMPOSE": compose, "NGINX_CONF": str(placed.nginx.configuration), "PATIENCE": "2"}
        done = subprocess.run([ROOT / "deploy" / "rolling-restart.sh"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "rolling-restart: 127.0.0.11 does not become ready, and stays out\n",
    )
    assert placed.nginx.configuration.read_text().count("down weight") == 1
    assert traffic.errors() == []
    placed.nginx.configuration.write_text(before)
    victim.start()
    processes(["exec", "-T", "nginx", "sh", "-c", "kill -HUP 1"])


def test_no_get_fails_when_an_instance_is_killed(placed: PlacedShop):
    with Traffic(placed.nginx.port, "", readers=8, writers=0, pause=0) as traffic:
        for n in range(KILLS):
            victim = placed.instances[n % 3]
            time.sleep(0.5)
            victim.kill()
            time.sleep(0.5)
            victim.start()
    print(f"\n{KILLS} times: {dict(summary(traffic.replies))}")
    assert traffic.errors() == []

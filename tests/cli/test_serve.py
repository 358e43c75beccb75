"""`shop-api serve` as an operator meets it: a process with its engines, its messages and its end."""

import re
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from shop_api.settings import Settings
from support.patience import PATIENCE
from support.pids import alive, engines_on, soon
from support.ports import free_port
from support.processes import SHOP_API, environment, listens, run, started, under_way

pytestmark = pytest.mark.long

STRONG = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978"
GIVEN = {
    "SHOP_MONGO_URL": "mongodb://127.0.0.1:1/?directConnection=true",
    "SHOP_REDIS_URL": "redis://127.0.0.1:1/0",
    "SHOP_JWT_SECRET": STRONG,
}


def env(engines: Settings, **given: str) -> dict[str, str]:
    """An environment with no other SHOP_ variables than those `given`."""
    inherited = {name: v for name, v in environment(engines).items() if not name.startswith("SHOP_")}
    return {**inherited, "SHOP_PORT": "0", **given}


def sign_in(url: str, username: str, password: str) -> httpx.Response:
    return httpx.post(f"{url}/auth", json={"username": username, "password": password}, timeout=PATIENCE)


def own_account(url: str, token: str) -> httpx.Response:
    return httpx.get(f"{url}/users/me", headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)


@dataclass
class Life:
    """What was seen of one data folder: three starts, and what else was tried meanwhile."""

    folder: Path
    said: list[str] = field(default_factory=list)
    """By each start, all it said to its end."""
    engines: list[list[int]] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    engines_left: list[bool] = field(default_factory=list)
    health: list[int] = field(default_factory=list)
    own_account: list[int] = field(default_factory=list)
    """With the token of the first sign-in, in each start."""
    password: str = ""
    signed_in: list[int] = field(default_factory=list)
    second_instance: subprocess.CompletedProcess[str] | None = None
    health_beside_second: int = 0
    on_taken_port: subprocess.CompletedProcess[str] | None = None
    admin_create: subprocess.CompletedProcess[str] | None = None
    other_admin_signed_in: int = 0
    secrets: set[str] = field(default_factory=set)

    @property
    def secret_file(self) -> Path:
        return self.folder / "jwt-secret"


@pytest.fixture(scope="module")
def life(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Life:
    tmp = tmp_path_factory.mktemp("life")
    life = Life(tmp / "data")
    own = env(engines, SHOP_DATA_DIR=str(life.folder), SHOP_LOG_LEVEL="error")
    token = ""
    for number, end in enumerate((signal.SIGTERM, signal.SIGKILL, signal.SIGINT)):
        log = tmp / f"{number}.log"
        with started(own, log) as (process, url):
            life.engines.append(engines_on(life.folder))
            life.health.append(httpx.get(f"{url}/health/ready").status_code)
            life.secrets.add(life.secret_file.read_text())
            if number == 0:
                told = re.search(r"username admin, password (\S+)", log.read_text())
                assert told
                life.password = told[1]
                token = sign_in(url, "admin", life.password).json()["access_token"]
                life.second_instance = run(own, "serve")
                life.health_beside_second = httpx.get(f"{url}/health/ready").status_code
                port = str(httpx.URL(url).port)
                life.on_taken_port = run({**own, "SHOP_DATA_DIR": str(tmp / "unused")}, "serve", "--port", port)
                life.admin_create = run(own, "admin", "create", "Owner", "--password", "a password of my own")
                life.other_admin_signed_in = sign_in(url, "owner", "a password of my own").status_code
            life.signed_in.append(sign_in(url, "admin", life.password).status_code)
            life.own_account.append(own_account(url, token).status_code)
            process.send_signal(end)
            life.exit_codes.append(process.wait(PATIENCE))
            if end == signal.SIGKILL:  # then it cannot wait for them itself
                soon(lambda: not engines_on(life.folder))
            life.engines_left.append(bool(engines_on(life.folder)))
        life.said.append(log.read_text())
    return life


class TestLife:
    def test_every_start_is_ready_on_its_engines(self, life):
        assert life.health == [200, 200, 200]
        assert [len(pids) for pids in life.engines] == [3, 3, 3]

    @pytest.mark.parametrize(("start", "end"), [(0, "SIGTERM"), (2, "SIGINT")])
    def test_a_polite_signal_ends_it_with_exit_code_0_and_without_a_word(self, life, start, end):
        assert life.exit_codes[start] == 0
        assert life.said[start].strip().splitlines()[-1].startswith("shop-api: ready on http://localhost:")

    @pytest.mark.parametrize(("start", "end"), [(0, "SIGTERM"), (1, "SIGKILL"), (2, "SIGINT")])
    def test_no_engine_is_left(self, life, start, end):
        assert not life.engines_left[start]
        assert [pid for pid in life.engines[start] if alive(pid)] == []

    def test_it_works_again_after_a_kill(self, life):
        assert life.exit_codes[1] == -signal.SIGKILL
        assert life.health[2] == 200

    def test_the_first_admin_is_said_once_and_keeps_working(self, life):
        assert [said.count("password") for said in life.said] == [1, 0, 0]
        assert not any(life.password in said for said in life.said[1:])
        assert life.signed_in == [200, 200, 200]

    def test_no_start_says_more_than_it_has_to(self, life):
        assert [len(said.strip().splitlines()) for said in life.said] == [5, 3, 3]

    def test_the_secret_is_private_and_stays(self, life):
        assert len(life.secrets) == 1
        assert stat.S_IMODE(life.secret_file.stat().st_mode) == 0o600
        assert not any(secret in said for secret in life.secrets for said in life.said)

    def test_a_token_outlives_a_restart(self, life):
        assert life.own_account == [200, 200, 200]

    def test_a_second_instance_on_the_folder_is_refused_in_one_line(self, life):
        assert life.second_instance.returncode == 1
        assert life.second_instance.stderr == (
            f"shop-api: another instance is using {life.folder}: stop that one, or set SHOP_DATA_DIR to another"
            " folder\n"
        )

    def test_the_first_goes_on_beside_a_refused_second(self, life):
        assert life.health_beside_second == 200

    def test_a_port_in_use_is_refused_in_one_line_before_anything_starts(self, life):
        refused = life.on_taken_port
        assert refused.returncode == 1
        assert re.fullmatch(
            r"shop-api: SHOP_PORT: cannot listen on 127\.0\.0\.1:\d+: Address .* \(for example: 4000\)\n",
            refused.stderr,
        )
        assert not (life.folder.parent / "unused").exists()

    def test_an_admin_can_be_made_beside_it(self, life):
        assert life.admin_create.returncode == 0
        assert life.admin_create.stderr == "shop-api: made the admin owner\n"
        assert life.other_admin_signed_in == 200


class Stop(NamedTuple):
    """Signals that a service is sent as soon as it has said a word."""

    word: str
    signals: tuple[signal.Signals, ...]
    pause: float = 0.0
    """Seconds between the signals."""


TERM, INT = signal.SIGTERM, signal.SIGINT
STOPS = (
    Stop("", (TERM,)),
    Stop("secret", (TERM,)),
    Stop("MongoDB", (INT, INT), 0.05),
    Stop("Redis", (TERM, INT), 0.01),
    Stop("first admin", (TERM,)),
    Stop("first admin", (INT, INT), 0.1),
    Stop("ready", (INT, INT), 0.05),
    Stop("ready", (INT, INT), 0.15),
    Stop("ready", (TERM,) * 20, 0.01),
)


class TestStop:
    @pytest.fixture
    def starting(self, engines: Settings, tmp_path: Path) -> Iterator[dict[Stop, subprocess.Popen[bytes]]]:
        """A service for each stop, on a folder of its own, all at once."""
        processes = {}
        for number, stop in enumerate(STOPS):
            own = env(engines, SHOP_DATA_DIR=str(tmp_path / f"data-{number}"))
            with (tmp_path / f"{number}.log").open("wb") as log:
                processes[stop] = subprocess.Popen([SHOP_API, "serve"], env=own, stdout=log, stderr=log)
        yield processes
        for process in processes.values():
            process.kill()
            process.wait()

    def test_at_any_moment_and_more_than_once_leaves_nothing_behind(self, starting, engines, tmp_path):
        def said(stop: Stop) -> str:
            return (tmp_path / f"{STOPS.index(stop)}.log").read_text()

        def end(stop: Stop) -> None:
            assert soon(lambda: stop.word in said(stop))
            for signum in stop.signals:
                starting[stop].send_signal(signum)
                time.sleep(stop.pause)

        with ThreadPoolExecutor(len(STOPS)) as pool:
            list(pool.map(end, STOPS))
        for number, stop in enumerate(STOPS):
            # 0, or the plain effect of the signal while Python itself was still starting.
            allowed = (0,) if said(stop) else (0, -TERM)
            assert starting[stop].wait(PATIENCE) in allowed, (stop, said(stop))
            assert engines_on(tmp_path / f"data-{number}") == []
            # What it says, and what it logs of the schema it makes; no traceback.
            assert all(line.startswith(("shop-api: ", '{"')) for line in said(stop).splitlines()), (stop, said(stop))
        with started(env(engines, SHOP_DATA_DIR=str(tmp_path / "data-4")), tmp_path / "again.log") as (_, url):
            assert httpx.get(f"{url}/health/ready").status_code == 200

    def test_while_it_waits_for_a_database_is_not_put_off(self, engines, tmp_path):
        """A server that takes connections and never answers keeps each attempt busy until its time-out."""
        with socket.create_server(("127.0.0.1", 0)) as silent, (tmp_path / "serve.log").open("wb") as log:
            url = f"mongodb://127.0.0.1:{silent.getsockname()[1]}/?directConnection=true"
            own = {**environment(engines), "SHOP_MONGO_URL": url}
            with subprocess.Popen([SHOP_API, "serve"], env=own, stdout=log, stderr=log) as process:
                silent.settimeout(PATIENCE)
                silent.accept()[0].close()
                process.terminate()
                assert process.wait(PATIENCE) == 0
        assert "does not answer" not in (tmp_path / "serve.log").read_text()

    def test_a_request_under_way_is_answered_before_the_end(self, engines, tmp_path):
        with started(environment(engines), tmp_path / "serve.log") as (process, url):
            with under_way(url, "under-way") as (connection, rest):
                process.terminate()
                assert soon(lambda: not listens(url))
                connection.sendall(rest)
                assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
            assert process.wait(PATIENCE) == 0


class TestRefusals:
    """Each in a line or two that name the setting, what is wrong and an example."""

    def refused(self, env: dict[str, str], *words: str) -> str:
        done = run(env, *(words or ("serve",)))
        assert done.returncode == 1, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert all(line.startswith("shop-api: ") for line in done.stderr.splitlines())
        return done.stderr

    def test_no_secret_beside_a_mongodb_of_ones_own(self, engines, tmp_path):
        own = env(engines, **{**GIVEN, "SHOP_JWT_SECRET": ""}, SHOP_DATA_DIR=str(tmp_path / "data"))
        said = self.refused(own)
        assert said == "shop-api: SHOP_JWT_SECRET: is missing (for example: the output of: openssl rand -hex 32)\n"
        assert not (tmp_path / "data").exists()

    def test_a_weak_secret(self, engines):
        said = self.refused(env(engines, **{**GIVEN, "SHOP_JWT_SECRET": "hunter2-hunter2"}))
        assert said == (
            "shop-api: SHOP_JWT_SECRET: is weak: needs at least 32 bytes"
            " (for example: the output of: openssl rand -hex 32)\n"
        )

    def test_a_bad_signing_key_before_anything_is_started(self, engines, tmp_path):
        (tmp_path / "20300101T000000Z.pem").write_text("text")
        keys = {"SHOP_JWT_KEYS_DIR": str(tmp_path), "SHOP_DATA_DIR": str(tmp_path / "data"), "SHOP_REDIS_URL": ""}
        said = self.refused(env(engines, **{**GIVEN, **keys}))
        assert said.startswith(f"shop-api: SHOP_JWT_KEYS_DIR: {tmp_path}/20300101T000000Z.pem: is no private key in")
        assert said.endswith(" (for example: /run/secrets/shop-keys)\n")
        assert not (tmp_path / "data").exists()

    def test_a_folder_of_signing_keys_that_is_not_there(self, engines, tmp_path):
        said = self.refused(env(engines, **GIVEN, SHOP_JWT_KEYS_DIR=str(tmp_path / "none")))
        assert said.startswith(f"shop-api: SHOP_JWT_KEYS_DIR: {tmp_path}/none: there is no such folder; ")

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (
                {"SHOP_ADMIN_USERNAME": "x"},
                r"SHOP_ADMIN_USERNAME: A username has 3 to 32 letters.* \(for example: owner\)",
            ),
            (
                {"SHOP_ADMIN_PASSWORD": "hunter2"},
                r"SHOP_ADMIN_PASSWORD: A password has 8 .* \(for example: a long .*\)",
            ),
            (
                {"SHOP_ADMIN_PASSWORD": "baseball"},
                r"SHOP_ADMIN_PASSWORD: is among the most .* \(for example: a long .*\)",
            ),
            (
                {"SHOP_HOST": "192.0.2.1"},
                r"SHOP_HOST: cannot listen on 192.0.2.1:\d+: .* \(for example: 0\.0\.0\.0\)",
            ),
            (
                {"SHOP_HOST": "no.such.host"},
                r"SHOP_HOST: cannot listen on no.such.host:\d+: .* \(for example: 0\.0\.0\.0\)",
            ),
        ],
    )
    def test_what_shows_only_in_use_is_told_like_any_other_wrong_value(self, engines, given, said):
        named = {"SHOP_ADMIN_USERNAME": "owner", "SHOP_ADMIN_PASSWORD": "correct horse battery", **given}
        told = self.refused(env(engines, **GIVEN, **named))
        assert re.fullmatch(rf"shop-api: {said}\n", told)
        assert "hunter2" not in told

    def test_several_wrong_values_are_told_together(self, engines):
        own = env(engines, **{**GIVEN, "SHOP_MONGO_URL": "hunter2@localhost", "SHOP_LOG_LEVEL": "loud"})
        said = self.refused(own, "serve", "--port", "99999")
        assert [line.split(": ")[1] for line in said.splitlines()] == [
            "SHOP_MONGO_URL",
            "SHOP_PORT",
            "SHOP_LOG_LEVEL",
        ]
        assert "hunter2" not in said

    def test_a_folder_that_cannot_be_used_and_settings_that_are_unknown(self, engines, tmp_path):
        folder = tmp_path / "data"
        folder.write_text("")
        own = env(engines, SHOP_DATA_DIR=str(folder), SHOP_REDIS_URI="hunter2", SHOP_PORTT="1", SHOP_XYZZY="x")
        assert self.refused(own).splitlines() == [
            "shop-api: SHOP_PORTT is not a setting; did you mean SHOP_PORT?",
            "shop-api: SHOP_REDIS_URI is not a setting; did you mean SHOP_REDIS_URL?",
            "shop-api: SHOP_XYZZY is not a setting",
            f"shop-api: cannot use {folder}: File exists; set SHOP_DATA_DIR to another folder",
        ]


class TestElsewhere:
    """With engines that run elsewhere."""

    def test_no_engine_is_started_and_it_listens_where_it_is_told(self, engines, tmp_path):
        port = str(free_port())
        own = {**environment(engines), "SHOP_DATA_DIR": str(tmp_path / "data")}
        with started(own, tmp_path / "serve.log", "--host", "0.0.0.0", "--port", port) as (process, url):
            assert url == f"http://localhost:{port}"
            assert httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
            assert not (tmp_path / "data").exists()
            process.terminate()
            assert process.wait(PATIENCE) == 0
        said = [line for line in (tmp_path / "serve.log").read_text().splitlines() if line.startswith("shop-api")]
        assert said == [f"shop-api: ready on {url}"]

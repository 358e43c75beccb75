"""The engines that run when no URL is given: real ones, on a folder of each test's own."""

import contextlib
import os
import re
import signal
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from redis import Redis

from shop_api import embedded
from shop_api.embedded import EngineError, FolderInUse
from shop_api.embedded.folder import make_private
from shop_api.settings import Settings
from support.patience import PATIENCE
from support.pids import engines_on

SECRET = "a-secret-of-my-own-0123456789-abcdef"


def quiet(line: str) -> None:
    pass


def settings_for(folder: Path, **given: object) -> Settings:
    fields: dict[str, Any] = {"mongo_url": None, "redis_url": None, "jwt_secret": None, "data_dir": folder, **given}
    return Settings(**fields)


def light(folder: Path, **given: object) -> Settings:
    """With a MongoDB that is said to run elsewhere: where one engine will do, the quicker one."""
    return settings_for(folder, **{"mongo_url": "mongodb://127.0.0.1:1", "jwt_secret": SECRET, **given})


def counted(settings: Settings) -> int:
    """How often it was asked by now: the embedded Redis works and keeps what it is told."""
    with contextlib.closing(Redis.from_url(settings.required()[1])) as redis:
        return redis.incr("things")


def write_and_read(settings: Settings) -> list[int]:
    """Adds a document and a Redis key; all there are by now."""
    mongo_url, redis_url, _ = settings.required()
    with MongoClient[dict](mongo_url) as mongo, contextlib.closing(Redis.from_url(redis_url)) as redis:
        things = mongo["test"]["things"]
        things.insert_one({"_id": things.count_documents({})})
        redis.incr("things")
        return [d["_id"] for d in things.find().sort("_id")] + [int(redis.get("things") or 0)]


def redis_pid(url: str) -> int:
    with contextlib.closing(Redis.from_url(url)) as redis:
        return redis.info("server")["process_id"]


def damage(storage: Path) -> list[Path]:
    """Makes the files of a database that cannot be opened."""
    with embedded.mongo.running(storage.parent):
        pass
    files = [file for file in storage.rglob("*") if file.is_file()]
    for file in files:
        os.truncate(file, min(file.stat().st_size, 10))
    return files


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """For root too, who may write everywhere, files are closed until the end of the block."""
    user, nobody = os.geteuid(), 65534
    if user == 0:
        os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(user)


class TestRunning:
    def test_both_engines_run_on_loopback_ports_until_the_end_of_the_block(self, tmp_path):
        with embedded.running(settings_for(tmp_path), quiet) as settings:
            urls = settings.required()[:2]
            assert write_and_read(settings) == [0, 1]
        for url in urls:
            found = re.search(r"//([^:/]+):(\d+)/", url)
            assert found
            host, port = found.groups()
            assert host == "127.0.0.1"
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, int(port)))

    def test_redis_has_a_limit_beyond_which_the_least_used_goes(self, tmp_path):
        with (
            embedded.running(settings_for(tmp_path), quiet) as settings,
            Redis.from_url(settings.required()[1]) as redis,
        ):
            assert int(redis.config_get("maxmemory")["maxmemory"]) == 64 * 2**20
            assert redis.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru"

    def test_data_survives_a_stop_and_a_start(self, tmp_path):
        for expected in ([0, 1], [0, 1, 2]):
            with embedded.running(settings_for(tmp_path), quiet) as settings:
                assert write_and_read(settings) == expected

    def test_two_folders_do_not_see_each_other(self, tmp_path):
        with (
            embedded.running(settings_for(tmp_path / "one"), quiet) as one,
            embedded.running(settings_for(tmp_path / "two"), quiet) as two,
        ):
            assert write_and_read(one) == [0, 1]
            assert write_and_read(two) == [0, 1]
            assert len({one.mongo_url, one.redis_url, two.mongo_url, two.redis_url}) == 4
            assert one.jwt_secret != two.jwt_secret

    def test_a_transaction_that_was_left_open_does_not_block_the_next_start(self, tmp_path):
        with embedded.running(settings_for(tmp_path), quiet) as settings:
            with MongoClient[dict](settings.required()[0]) as mongo:
                mongo["test"]["things"].insert_one({"_id": 0})
            abandoned = MongoClient[dict](settings.required()[0])
            session = abandoned.start_session()
            session.start_transaction()
            abandoned["test"]["things"].update_one({"_id": 0}, {"$set": {"locked": True}}, session=session)
        abandoned.close()
        with (
            embedded.running(settings_for(tmp_path), quiet) as settings,
            MongoClient[dict](settings.required()[0], timeoutMS=5000) as mongo,
        ):
            mongo["test"]["things"].update_one({"_id": 0}, {"$set": {"free": True}})
            assert mongo["test"]["things"].find_one() == {"_id": 0, "free": True}

    def test_one_engine_runs_when_only_the_other_is_given(self, tmp_path):
        elsewhere = "redis://127.0.0.1:1/0"
        with embedded.running(settings_for(tmp_path, redis_url=elsewhere), quiet) as settings:
            assert settings.required()[1] == elsewhere
            with MongoClient[dict](settings.required()[0]) as mongo:
                assert mongo.admin.command("ping")["ok"] == 1
        assert not (tmp_path / "redis").exists()

    def test_nothing_runs_and_no_folder_is_made_when_both_are_given(self, tmp_path):
        given = settings_for(tmp_path / "none", mongo_url="mongodb://127.0.0.1:1", redis_url="redis://127.0.0.1:1")
        with embedded.running(given, quiet) as settings:
            assert settings is given
        assert not (tmp_path / "none").exists()

    def test_what_is_given_is_kept(self, tmp_path):
        with embedded.running(light(tmp_path, port=1234), quiet) as settings:
            assert settings.required()[2] == SECRET.encode()
            assert settings.port == 1234

    def test_works_on_a_folder_with_an_unusual_name(self, tmp_path):
        with embedded.running(settings_for(tmp_path / "deep" / "my shop's däta %s {x}"), quiet) as settings:
            assert write_and_read(settings) == [0, 1]

    def test_the_engines_of_a_killed_instance_are_waited_for(self, tmp_path):
        """The folder is free as soon as that instance is gone; its engine lets go a moment later."""
        with contextlib.ExitStack() as stack:
            (tmp_path / "data").mkdir()
            stack.enter_context(embedded.mongo.running(tmp_path / "data"))
            letting_go = threading.Timer(0.7, stack.pop_all().close)
            letting_go.start()
        with embedded.running(settings_for(tmp_path / "data"), quiet) as settings:
            assert write_and_read(settings) == [0, 1]
        letting_go.join()

    @pytest.mark.parametrize("moment", [0.02, 0.05, 0.1])
    def test_killed_in_its_first_start_it_can_start_again(self, tmp_path, moment):
        def kill() -> None:
            deadline = time.monotonic() + 60
            while not (pids := engines_on(tmp_path)) and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(moment)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        killing = threading.Thread(target=kill)
        killing.start()
        with contextlib.suppress(EngineError), embedded.mongo.running(tmp_path):
            killing.join()
        killing.join()
        with embedded.running(settings_for(tmp_path), quiet) as settings:
            assert write_and_read(settings) == [0, 1]

    def test_files_that_it_left_half_made_are_made_anew(self, tmp_path):
        damage(tmp_path / "mongo")
        (tmp_path / "mongo.unfinished").touch()
        for there in ([0, 1], [0, 1, 2]):
            with embedded.running(settings_for(tmp_path), quiet) as settings:
                assert write_and_read(settings) == there
            assert not (tmp_path / "mongo.unfinished").exists()

    def test_files_that_were_in_use_are_never_removed(self, tmp_path):
        left = damage(tmp_path / "mongo")
        with pytest.raises(EngineError):
            contextlib.ExitStack().enter_context(embedded.mongo.running(tmp_path))
        assert all(file.exists() for file in left)


class TestSecret:
    def test_is_made_once_stays_and_is_never_said(self, tmp_path):
        said: list[str] = []
        made = set()
        for _ in range(2):
            with embedded.running(
                settings_for(tmp_path / "data", redis_url="redis://elsewhere"), said.append
            ) as settings:
                made.add(settings.required()[2].decode())
        [secret] = made
        assert len(secret) == 64
        assert sum("secret" in line for line in said) == 1
        assert not any(secret in line for line in said)

    def test_only_its_owner_can_read_it(self, tmp_path):
        with embedded.running(settings_for(tmp_path / "data", redis_url="redis://elsewhere"), quiet):
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        assert modes["jwt-secret"] == modes["engines.json"] == 0o600

    def test_is_not_made_for_a_mongodb_that_runs_elsewhere(self, tmp_path):
        given = settings_for(tmp_path, mongo_url="mongodb://127.0.0.1:1")
        with embedded.running(given, quiet) as settings:
            assert settings.jwt_secret is None
        assert not (tmp_path / "jwt-secret").exists()

    @pytest.mark.parametrize("damage", ["", "\n", "short"])
    def test_a_damaged_one_is_refused_by_name(self, tmp_path, damage):
        (tmp_path / "jwt-secret").write_text(damage)
        with (
            pytest.raises(EngineError, match="jwt-secret is damaged"),
            embedded.running(settings_for(tmp_path), quiet),
        ):
            pass


class TestOneFolder:
    def test_a_second_instance_is_refused_and_the_first_goes_on(self, tmp_path):
        with embedded.running(light(tmp_path), quiet) as first:
            with pytest.raises(FolderInUse, match=re.escape(str(tmp_path))) as refused:
                contextlib.ExitStack().enter_context(embedded.running(light(tmp_path), quiet))
            assert "SHOP_DATA_DIR" in str(refused.value)
            assert counted(first) == 1

    def test_one_that_joins_uses_the_running_engines_and_leaves_them_running(self, tmp_path):
        with embedded.running(light(tmp_path), quiet) as first:
            with embedded.running(light(tmp_path), quiet, join=True) as second:
                assert second.required() == first.required()
                assert counted(second) == 1
            assert counted(first) == 2

    def test_one_that_joins_starts_the_engines_when_none_run(self, tmp_path):
        with embedded.running(light(tmp_path), quiet, join=True) as settings:
            assert counted(settings) == 1

    def test_one_that_joins_keeps_what_it_was_given(self, tmp_path):
        other = "another-secret-0123456789-abcdefghijk"
        with (
            embedded.running(light(tmp_path), quiet),
            embedded.running(light(tmp_path, jwt_secret=other), quiet, join=True) as second,
        ):
            assert second.required()[2] == other.encode()

    def test_one_that_joins_uses_the_secret_of_the_other(self, tmp_path):
        given = settings_for(tmp_path, redis_url="redis://elsewhere")
        with embedded.running(given, quiet) as first, embedded.running(given, quiet, join=True) as second:
            assert second.required() == first.required()

    def test_one_that_joins_while_the_engines_start_is_asked_to_wait(self, tmp_path):
        with embedded.running(light(tmp_path), quiet):
            (tmp_path / "engines.json").unlink()  # as it is until they are ready
            with pytest.raises(FolderInUse, match="try again in a moment"):
                contextlib.ExitStack().enter_context(embedded.running(light(tmp_path), quiet, join=True))

    def test_addresses_left_by_a_killed_instance_are_not_used(self, tmp_path):
        stale = tmp_path / "engines.json"
        stale.write_text('{"mongo_url": "mongodb://127.0.0.1:1", "redis_url": "redis://127.0.0.1:1/0"}')
        seen = []

        def at_each_step(line: str) -> None:
            seen.append(stale.exists())

        with embedded.running(light(tmp_path), at_each_step) as settings:
            assert counted(settings) == 1
        assert seen == [False] * len(seen)
        assert seen

    def test_of_many_at_once_exactly_one_gets_it(self, tmp_path):
        outcomes: list[str] = []
        everyone_tried = threading.Barrier(6)

        def start() -> None:
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(embedded.running(light(tmp_path), quiet))
                    outcomes.append("running")
                except FolderInUse:
                    outcomes.append("in use")
                everyone_tried.wait(PATIENCE)

        threads = [threading.Thread(target=start) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["in use"] * 5 + ["running"]


class TestRefusals:
    def test_a_folder_that_is_a_file_is_refused(self, tmp_path):
        (tmp_path / "data").write_text("")
        with pytest.raises(EngineError, match=r"cannot use .*data: .*SHOP_DATA_DIR"):
            contextlib.ExitStack().enter_context(embedded.running(settings_for(tmp_path / "data"), quiet))

    def test_a_folder_that_cannot_be_written_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o500)
            with unprivileged(), pytest.raises(EngineError, match=r"Permission denied.*SHOP_DATA_DIR"):
                contextlib.ExitStack().enter_context(embedded.running(settings_for(Path(folder) / "data"), quiet))

    def test_an_engine_that_cannot_start_names_its_log_and_leaves_nothing_running(self, tmp_path):
        (tmp_path / "mongo").write_text("no folder")
        looks: list[None] = []
        with pytest.raises(EngineError, match=re.escape(str(tmp_path / "mongo.log"))):
            contextlib.ExitStack().enter_context(
                embedded.running(settings_for(tmp_path), quiet, check=lambda: looks.append(None))
            )
        assert len(looks) < 1500  # it is waited for until it has ended, not 30 s, in which there are twice as many
        (tmp_path / "mongo").unlink()
        with embedded.running(settings_for(tmp_path), quiet) as settings:
            assert write_and_read(settings) == [0, 1]

    def test_when_the_second_engine_cannot_start_the_first_is_stopped(self, tmp_path):
        (tmp_path / "redis").write_text("no folder")
        with pytest.raises(EngineError):
            contextlib.ExitStack().enter_context(embedded.running(settings_for(tmp_path), quiet))
        (tmp_path / "redis").unlink()
        with embedded.running(settings_for(tmp_path), quiet) as settings:
            assert write_and_read(settings) == [0, 1]

    def test_an_engine_that_dies_meanwhile_does_not_disturb_the_end(self, tmp_path):
        with embedded.running(light(tmp_path), quiet) as settings:
            os.kill(redis_pid(settings.required()[1]), signal.SIGKILL)
        with embedded.running(light(tmp_path), quiet) as settings:
            assert counted(settings) == 1


class TestPrivacy:
    """What is in the folder is for its owner only."""

    @pytest.fixture
    def said(self) -> list[str]:
        return []

    @pytest.mark.parametrize("mode", [0o755, 0o750, 0o777, 0o701])
    def test_one_that_others_can_read_is_closed_and_that_is_said(self, tmp_path, said, mode):
        folder = tmp_path / "data"
        folder.mkdir()
        (folder / "jwt-secret").write_text("0123456789abcdef" * 4)
        (folder / "jwt-secret").chmod(0o644)
        (folder / "mongo.log").touch()
        folder.chmod(mode)
        with embedded.running(light(folder), said.append):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert stat.S_IMODE((folder / "jwt-secret").stat().st_mode) == 0o600
        assert [line for line in said if "others could read" in line] == [
            f"others could read {folder}: from now on only its owner can",
            f"others could read {folder / 'jwt-secret'}: from now on only its owner can",
        ]

    def test_one_that_is_private_is_left_as_it_is(self, tmp_path, said):
        make_private(tmp_path / "data", said.append)
        make_private(tmp_path / "data", said.append)
        assert said == []
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700

    def test_one_that_holds_what_others_may_need_is_refused(self, tmp_path, said):
        (tmp_path / "index.html").touch()
        tmp_path.chmod(0o755)
        with pytest.raises(EngineError, match=r"holds index\.html.*SHOP_DATA_DIR"):
            make_private(tmp_path, said.append)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
    def test_one_that_belongs_to_somebody_else_is_refused(self, said):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            with unprivileged(), pytest.raises(EngineError, match="belongs to somebody else"):
                make_private(Path(folder), said.append)

"""`shop-api secrets` and `shop-api admin first-password`, as docker-compose.yml runs them."""

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from shop_api.settings import Settings, redis_url
from support.processes import command, environment, run

Run = Callable[..., subprocess.CompletedProcess[str]]
FORMS = (
    "--mongo-url=mongodb://shop:{mongo_password}@mongo:27017/?authSource=admin",
    "--redis-url=redis+sentinel://:{redis_password}@a:26379,b:26379/shop/0?sentinel_password={redis_password}",
    "--redis-guards-url=redis://:{redis_password}@guards:6379/0",
)
NAMES = [
    *("backup_key", "jwt_secret", "mongo_key", "mongo_password"),
    *("mongo_url", "redis_guards_url", "redis_password", "redis_url"),
]


def shop_api(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    return run({**inherited, **env}, *words)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("secrets", "admin"):
        (tmp_path / name).mkdir()
    return tmp_path / "secrets", tmp_path / "admin"


@pytest.fixture
def make(folders: tuple[Path, Path]) -> Run:
    return partial(command, "secrets", *folders, *FORMS)


def contents(*folders: Path) -> dict[str, str]:
    return {file.name: file.read_text() for folder in folders for file in sorted(folder.iterdir())}


class TestMaking:
    def test_makes_files_for_their_owner_that_the_settings_take(self, make, folders):
        done = make()
        assert done.returncode == 0, done.stderr
        assert [file.name for file in sorted(folders[0].iterdir())] == NAMES
        made = contents(*folders)
        assert len(set(made.values())) == len(made) == 9
        assert all(file.stat().st_mode & 0o777 == 0o600 for folder in folders for file in folder.iterdir())
        taken = {
            name: made[name] for name in ("mongo_url", "redis_url", "jwt_secret", "backup_key", "admin_password")
        }
        assert Settings.model_validate({**taken, "admin_username": "admin"}).required()
        assert not any(value in done.stderr for value in made.values())

    def test_the_urls_have_the_passwords_in_them(self, make, folders):
        make()
        made = contents(folders[0])
        assert made["mongo_url"] == f"mongodb://shop:{made['mongo_password']}@mongo:27017/?authSource=admin"
        assert redis_url.parse(made["redis_url"]).url.count(made["redis_password"]) == 2

    def test_a_second_time_changes_nothing(self, make, folders):
        make()
        before = contents(*folders)
        assert "all secrets are there already" in make().stderr
        assert contents(*folders) == before

    def test_what_is_missing_is_made_again(self, make, folders):
        make()
        before = contents(*folders)
        (folders[0] / "redis_url").unlink()
        assert "made secrets: redis_url\n" in make().stderr
        assert contents(*folders) == before

    def test_what_is_given_takes_the_place_of_what_is_there(self, make, folders):
        make()
        given = {"SHOP_JWT_SECRET": "other", "MONGO_PASSWORD": "p@ss/w:rd%", "SHOP_REDIS_URL": "redis://elsewhere"}
        done = make(**given)
        made = contents(folders[0])
        assert (made["jwt_secret"], made["redis_url"]) == ("other", "redis://elsewhere")
        assert made["mongo_url"] == "mongodb://shop:p%40ss%2Fw%3Ard%25@mongo:27017/?authSource=admin"
        assert not any(value in done.stderr for value in given.values())

    def test_an_empty_variable_is_an_absent_one(self, make, folders):
        assert make(SHOP_JWT_SECRET="", MONGO_PASSWORD="").returncode == 0
        assert "" not in contents(*folders).values()

    @pytest.mark.parametrize("password", ["two words", 'qu"ote', "it's", "back\\slash", "lí"])
    def test_a_password_that_an_engine_would_read_otherwise_is_refused_unseen(self, make, folders, password):
        done = make(REDIS_PASSWORD=password)
        assert done.returncode == 1
        assert "REDIS_PASSWORD: only ASCII" in done.stderr
        assert password not in done.stderr
        assert contents(*folders) == {}

    def test_a_folder_that_is_not_there_is_said_in_words(self, tmp_path):
        done = command("secrets", tmp_path / "none", tmp_path, *FORMS)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert str(tmp_path / "none") in done.stderr


class TestFirstPassword:
    @pytest.fixture
    def show(self, make, folders, engines, app) -> Run:
        make()
        file = str(folders[1] / "admin_password")
        env = environment(engines, SHOP_ADMIN_USERNAME="admin", SHOP_ADMIN_PASSWORD_FILE=file)
        return lambda: shop_api("admin", "first-password", **env)

    def test_the_log_names_the_command_until_it_was_run_or_a_password_is_given(self, make, show):
        assert "shop-api admin first-password" in make().stderr
        assert "first-password" not in make(SHOP_ADMIN_PASSWORD="a long one of my own").stderr
        show()
        assert "first-password" not in make().stderr

    async def test_is_shown_once_and_signs_in_and_the_file_no_longer_has_it(self, show, folders, anyone):
        password = (folders[1] / "admin_password").read_text()
        done = show()
        assert (done.returncode, done.stdout) == (0, f"username: admin\npassword: {password}\n")
        assert (await anyone.post("/auth", json={"username": "admin", "password": password})).status_code == 200
        left = contents(folders[1])["admin_password"]
        assert (await anyone.post("/auth", json={"username": "admin", "password": left})).status_code == 401
        again = show()
        assert (again.returncode, again.stdout) == (1, "")
        assert "was shown already" in again.stderr
        assert password not in again.stderr + "".join(contents(folders[1]).values())

    def test_of_several_at_once_one_shows_it(self, show):
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: show(), range(4)))
        assert sorted(one.returncode for one in done) == [0, 1, 1, 1]
        assert len([one for one in done if "password: " in one.stdout]) == 1

    def test_a_file_that_cannot_be_changed_is_not_shown(self, show, folders):
        (folders[1] / "admin_password.part").mkdir()  # where the new content would be written
        done = show()
        assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (1, "", False)
        assert "cannot be changed" in done.stderr

    async def test_a_password_that_has_been_changed_is_not_shown(self, show, sign_in):
        await sign_in("admin", role="admin")
        done = show()
        assert (done.returncode, "password: " in done.stdout) == (1, False)
        assert "has another password by now" in done.stderr

    def test_without_a_file_there_is_nothing_to_show(self, engines):
        done = shop_api("admin", "first-password", **environment(engines))
        assert (done.returncode, done.stdout) == (1, "")
        assert "SHOP_ADMIN_PASSWORD_FILE is not set" in done.stderr

"""`shop-api keys …` as an operator runs it."""

from datetime import timedelta
from functools import partial

import pytest

from shop_api.kernel.clock import utc_now
from shop_api.security.signing_keys.files import read, read_all
from shop_api.security.tokens import secret_kid
from support.factories import TEST_SECRET
from support.key_files import add_key
from support.processes import command

run = partial(command, "keys")


class TestRotate:
    def test_makes_the_folder_and_the_first_key(self, tmp_path):
        done = run("rotate", "--dir", tmp_path / "keys", "--algorithm", "RS256")
        [key] = read_all(tmp_path / "keys")
        assert (done.returncode, key.algorithm) == (0, "RS256")
        assert f"made {tmp_path / 'keys' / key.name}: RS256, kid {key.kid}" in done.stderr

    def test_uses_the_folder_of_the_settings_and_says_what_it_removed(self, tmp_path):
        old = add_key(tmp_path, utc_now() - timedelta(days=60))
        add_key(tmp_path, utc_now() - timedelta(days=30), serial=1)
        kid = read(old).kid
        done = run("rotate", SHOP_JWT_KEYS_DIR=tmp_path)
        assert done.returncode == 0
        assert f"removed {old}: kid {kid}" in done.stderr
        assert len(read_all(tmp_path)) == 2

    def test_without_a_folder_it_says_how_to_change_the_secret(self):
        done = run("rotate")
        assert done.returncode == 1
        for word in ("SHOP_JWT_SECRET", "SHOP_JWT_PREVIOUS_SECRETS", "SHOP_JWT_KEYS_DIR", "--dir"):
            assert word in done.stderr

    @pytest.mark.parametrize("words", [["rotate"], ["list"]])
    def test_a_bad_file_is_named_and_nothing_is_done(self, tmp_path, words):
        (tmp_path / "20300101T000000Z.pem").write_text("text")
        for done in (run(*words, "--dir", tmp_path), run(*words, SHOP_JWT_KEYS_DIR=tmp_path)):
            assert done.returncode == 1
            assert "20300101T000000Z.pem: is no private key" in done.stderr
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_folder_that_cannot_be_made_is_said_in_words(self, tmp_path):
        (tmp_path / "file").touch()
        done = run("rotate", "--dir", tmp_path / "file" / "keys")
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert str(tmp_path / "file") in done.stderr

    def test_other_algorithms_are_refused(self, tmp_path):
        assert run("rotate", "--dir", tmp_path, "--algorithm", "HS256").returncode == 2


class TestList:
    def test_shows_what_each_key_does(self, tmp_path):
        made = [utc_now() - timedelta(days=60), utc_now() - timedelta(days=30), utc_now()]
        old, current, new = (read(add_key(tmp_path, at, serial=serial)) for serial, at in enumerate(made))
        done = run("list", SHOP_JWT_KEYS_DIR=tmp_path, SHOP_JWT_SECRET=TEST_SECRET)
        lines = {line.split()[1]: line for line in done.stdout.splitlines() if "S256" in line}
        assert "verifies" in lines[old.kid]
        assert " signs " in lines[current.kid]
        assert "becomes active at 20" in lines[new.kid]
        assert "verifies" in lines[secret_kid(TEST_SECRET.encode())]
        assert TEST_SECRET not in done.stdout

    def test_without_a_folder_it_shows_the_secrets(self):
        old = "another " + TEST_SECRET
        done = run("list", SHOP_JWT_SECRET=TEST_SECRET, SHOP_JWT_PREVIOUS_SECRETS=old)
        lines = {line.split()[1]: line for line in done.stdout.splitlines() if "S256" in line}
        assert " signs " in lines[secret_kid(TEST_SECRET.encode())]
        assert "verifies" in lines[secret_kid(old.encode())]

    def test_without_any_key_it_says_so(self):
        done = run("list")
        assert done.returncode == 1
        assert "there are no keys" in done.stderr

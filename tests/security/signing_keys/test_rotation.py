"""A new key in place of the old one."""

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from shop_api.security.signing_keys.files import BadKey, read_all
from shop_api.security.signing_keys.rotation import KEPT, rotate
from shop_api.security.signing_keys.store import ACTIVATION_DELAY, SETTLED, SigningKeyStore
from shop_api.security.tokens import LEEWAY, LIFETIME, AccessTokens
from support.factories import TEST_SECRET
from support.key_files import add_key

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestTheNewKey:
    def test_is_for_its_owner_only_in_a_folder_for_its_owner_only(self, tmp_path):
        made, _ = rotate(tmp_path / "new" / "keys", None, NOW)
        path = tmp_path / "new" / "keys" / made.name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_leaves_nothing_else_behind(self, tmp_path):
        made, _ = rotate(tmp_path, None, NOW)
        assert names(tmp_path) == {made.name}

    def test_is_named_for_when_it_was_made_and_found_again(self, tmp_path):
        made, _ = rotate(tmp_path, None, NOW)
        assert made.made == NOW
        assert [key.kid for key in read_all(tmp_path)] == [made.kid]

    @pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
    def test_is_of_the_algorithm_that_was_asked_for_and_the_next_one_too(self, tmp_path, algorithm):
        assert rotate(tmp_path, algorithm, NOW).made.algorithm == algorithm
        assert rotate(tmp_path, None, NOW + DAY).made.algorithm == algorithm

    def test_is_es256_if_nothing_says_otherwise(self, tmp_path):
        assert rotate(tmp_path, None, NOW).made.algorithm == "ES256"

    def test_of_twenty_at_once_none_is_lost(self, tmp_path):
        with ThreadPoolExecutor(20) as pool:
            made = [rotation.made.kid for rotation in pool.map(lambda _: rotate(tmp_path, None, NOW), range(20))]
        assert {key.kid for key in read_all(tmp_path)} == set(made)
        assert len(set(made)) == 20

    def test_is_not_made_beside_a_bad_file(self, tmp_path):
        (tmp_path / "20300101T000000Z.pem").write_text("text")
        with pytest.raises(BadKey):
            rotate(tmp_path, None, NOW)
        assert names(tmp_path) == {"20300101T000000Z.pem"}


class TestTheOldKeys:
    def test_the_one_that_signs_now_stays_however_old(self, tmp_path):
        old = add_key(tmp_path, NOW - 1000 * DAY)
        assert rotate(tmp_path, None, NOW).removed == []
        assert old.exists()

    def test_goes_when_its_last_token_has_expired_and_not_before(self, tmp_path):
        old = add_key(tmp_path, NOW - 30 * DAY)
        successor = rotate(tmp_path, None, NOW).made
        assert rotate(tmp_path, None, NOW + KEPT).removed == []
        [removed] = rotate(tmp_path, None, NOW + KEPT + timedelta(seconds=1)).removed
        assert removed.name == old.name
        assert names(tmp_path) >= {successor.name}
        assert not old.exists()

    def test_no_instance_can_have_issued_a_token_that_is_in_force_when_its_key_goes(self, tmp_path):
        """The last to sign with the old key is an instance that starts just before the new one is an hour old."""
        add_key(tmp_path, NOW - 30 * DAY)
        rotate(tmp_path, None, NOW)
        now = NOW + SETTLED - timedelta(seconds=1)
        tokens = AccessTokens(TEST_SECRET.encode(), lambda: now, folder=SigningKeyStore(tmp_path, lambda: now))
        last = tokens.issue("some-id", "s")
        rotate(tmp_path, None, now + LIFETIME + timedelta(seconds=LEEWAY))
        now += LIFETIME + timedelta(seconds=LEEWAY - 1)
        assert tokens.verify(last).user_id == "some-id"

    def test_all_that_were_replaced_long_ago_go(self, tmp_path):
        old = [add_key(tmp_path, NOW - days * DAY, serial=days) for days in (90, 60, 30)]
        removed = rotate(tmp_path, None, NOW).removed
        assert [key.name for key in removed] == [path.name for path in old[:2]]

    def test_stay_as_long_as_a_token_lives_after_the_last_that_may_have_been_signed(self):
        assert KEPT >= SETTLED + ACTIVATION_DELAY + LIFETIME

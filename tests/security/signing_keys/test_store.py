"""The folder of keys while the service runs: which key signs when, and that nothing in it is an outage."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from shop_api.kernel.errors import InvalidToken
from shop_api.security.signing_keys.files import read
from shop_api.security.signing_keys.store import ACTIVATION_DELAY, SETTLED, SigningKeyStore
from shop_api.security.tokens import AccessTokens, secret_kid
from shop_api.settings import SettingsError
from support.factories import TEST_SECRET
from support.key_files import add_key, pem_of, private_key

SECRET = TEST_SECRET.encode()
START = datetime(2030, 1, 1, 12, tzinfo=UTC)
LOOK = timedelta(seconds=2)
SECOND = timedelta(seconds=1)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def instance(tmp_path, clock):
    """Starts another instance on the same folder."""
    return lambda: AccessTokens(SECRET, clock, folder=SigningKeyStore(tmp_path, clock))


def kid_of(path) -> str:
    return read(path).kid


def signer(tokens: AccessTokens) -> str:
    """The kid of what signs now."""
    from jose import jwt

    return jwt.get_unverified_header(tokens.issue("some-id", "s"))["kid"]


def refuses(tokens: AccessTokens, token: str) -> bool:
    try:
        tokens.verify(token)
    except InvalidToken:
        return True
    return False


class TestAtTheStart:
    def test_the_only_key_signs_at_once(self, tmp_path, clock, instance):
        key = add_key(tmp_path, clock.now)
        assert signer(instance()) == kid_of(key)

    def test_the_newest_signs_if_it_was_made_long_ago(self, tmp_path, instance):
        add_key(tmp_path, START - timedelta(days=30))
        newest = add_key(tmp_path, START - SETTLED, serial=1)
        assert signer(instance()) == kid_of(newest)

    def test_a_key_that_others_may_not_have_yet_does_not_sign(self, tmp_path, clock, instance):
        old = add_key(tmp_path, START - timedelta(days=30))
        new = add_key(tmp_path, START - SETTLED + ACTIVATION_DELAY + SECOND, serial=1)
        tokens = instance()
        assert signer(tokens) == kid_of(old)
        clock.now += ACTIVATION_DELAY
        assert signer(tokens) == kid_of(new)

    def test_however_often_instances_start_a_key_signs_when_it_is_an_hour_old(self, tmp_path, clock, instance):
        add_key(tmp_path, START - timedelta(days=30))
        new = add_key(tmp_path, START, serial=1)
        clock.now += SETTLED - SECOND
        tokens = instance()
        clock.now += SECOND
        assert signer(tokens) == signer(instance()) == kid_of(new)

    def test_an_empty_folder_leaves_it_to_the_secret(self, instance):
        assert signer(instance()) == secret_kid(SECRET)

    @pytest.mark.parametrize("content", [b"", b"text", pem_of(private_key())[:100]], ids=["empty", "text", "cut off"])
    def test_a_bad_file_is_refused_with_its_name(self, tmp_path, clock, content):
        add_key(tmp_path)
        (tmp_path / "20300101T000000Z.pem").write_bytes(content)
        with pytest.raises(SettingsError, match=r"^SHOP_JWT_KEYS_DIR: .*/20300101T000000Z\.pem: is "):
            SigningKeyStore(tmp_path, clock)

    def test_a_missing_folder_is_refused(self, tmp_path, clock):
        with pytest.raises(SettingsError, match=r"^SHOP_JWT_KEYS_DIR: .*/none: "):
            SigningKeyStore(tmp_path / "none", clock)


class TestANewKey:
    @pytest.fixture
    def old(self, tmp_path):
        return add_key(tmp_path, START - timedelta(days=30))

    @pytest.mark.parametrize("made", [START, START - timedelta(days=7)], ids=["new", "made a week ago"])
    def test_signs_when_all_instances_have_had_time_to_see_it(self, tmp_path, clock, instance, old, made):
        tokens = instance()
        clock.now += timedelta(minutes=1)
        new = add_key(tmp_path, made, serial=1)
        clock.now += LOOK
        assert signer(tokens) == kid_of(old)  # and has seen it by this
        clock.now += ACTIVATION_DELAY - SECOND
        assert signer(tokens) == kid_of(old)
        clock.now += SECOND
        assert signer(tokens) == kid_of(new)

    def test_does_not_sign_before_the_time_in_its_name(self, tmp_path, clock, instance, old):
        tokens = instance()
        new = add_key(tmp_path, START + timedelta(days=1), serial=1)
        clock.now += LOOK
        assert signer(tokens) == kid_of(old)
        clock.now = START + timedelta(days=1)
        assert signer(tokens) == kid_of(old)
        clock.now += ACTIVATION_DELAY
        assert signer(tokens) == kid_of(new)

    def test_the_first_one_in_an_empty_folder_waits_too_and_the_secret_signs(self, tmp_path, clock, instance):
        tokens = instance()
        new = add_key(tmp_path, START)
        clock.now += LOOK
        assert signer(tokens) == secret_kid(SECRET)
        clock.now += ACTIVATION_DELAY
        assert signer(tokens) == kid_of(new)

    def test_verifies_as_soon_as_a_token_asks_for_it(self, tmp_path, clock, instance, old):
        tokens = instance()
        old.unlink()
        add_key(tmp_path, START, serial=1)
        token = instance().issue("some-id", "s")  # its only key, so it signs at once
        clock.now += timedelta(milliseconds=200)
        assert tokens.verify(token).user_id == "some-id"

    def test_unknown_keys_do_not_make_the_folder_be_read_more_than_five_times_a_second(
        self, tmp_path, clock, instance, old
    ):
        tokens = instance()
        old.unlink()
        add_key(tmp_path, START, serial=1)
        token = instance().issue("some-id", "s")
        clock.now += timedelta(milliseconds=199)
        assert refuses(tokens, token)

    def test_no_token_of_one_instance_is_refused_by_another_through_three_rotations(self, tmp_path, clock, instance):
        """Instances start and notice at different moments; each takes what any of them issues, until it expires."""
        add_key(tmp_path, START - timedelta(days=30))
        instances = [instance()]
        issued: list[tuple[datetime, str]] = []
        signers = set()
        for minute in range(0, 150, 2):
            if minute in (10, 30, 90):
                add_key(tmp_path, clock.now, serial=minute, algorithm="RS256" if minute == 30 else "ES256")
            if minute % 14 == 0:
                instances.append(instance())
            for tokens in instances:
                issued.append((clock.now, tokens.issue("some-id", "s")))
                signers.add(signer(tokens))
            issued = [(at, token) for at, token in issued if clock.now - at < timedelta(minutes=15)]
            assert not [token for _, token in issued[-25:] for tokens in instances if refuses(tokens, token)]
            clock.now += timedelta(minutes=2)
        assert len(signers) == 4


class TestARemovedKey:
    def test_takes_its_tokens_with_it(self, tmp_path, clock, instance):
        old = add_key(tmp_path, START - timedelta(days=30))
        tokens = instance()
        token = tokens.issue("some-id", "s")
        add_key(tmp_path, START, serial=1)
        clock.now += LOOK
        assert not refuses(tokens, token)  # and is remembered from now on
        old.unlink()
        clock.now += LOOK
        assert refuses(tokens, token)

    def test_was_the_last_so_the_secret_signs(self, tmp_path, clock, instance):
        key = add_key(tmp_path)
        tokens = instance()
        key.unlink()
        clock.now += LOOK
        assert signer(tokens) == secret_kid(SECRET)

    def test_is_not_missed_when_the_clock_is_set_back(self, tmp_path, clock, instance):
        key = add_key(tmp_path)
        tokens = instance()
        clock.now -= timedelta(days=1)
        assert signer(tokens) == kid_of(key)
        key.unlink()
        clock.now -= timedelta(days=1)
        assert signer(tokens) == secret_kid(SECRET)

    def test_waits_again_when_it_comes_back(self, tmp_path, clock, instance):
        old = add_key(tmp_path, START - timedelta(days=30))
        new = add_key(tmp_path, START - timedelta(days=7), serial=1)
        tokens = instance()
        away = new.rename(tmp_path / "away")
        clock.now += LOOK
        assert signer(tokens) == kid_of(old)
        away.rename(new)
        clock.now += LOOK
        assert signer(tokens) == kid_of(old)
        clock.now += ACTIVATION_DELAY
        assert signer(tokens) == kid_of(new)


class TestWhatGoesWrong:
    @pytest.fixture
    def key(self, tmp_path):
        return add_key(tmp_path)

    def test_a_bad_file_is_left_out_until_it_is_complete(self, tmp_path, clock, instance, key):
        tokens = instance()
        token = tokens.issue("some-id", "s")
        late, pem = tmp_path / "20291231T000000Z.pem", pem_of(private_key(serial=1))
        for length in (0, 100, 200):
            late.write_bytes(pem[:length])
            clock.now += LOOK
            assert not refuses(tokens, token)
            assert signer(tokens) == kid_of(key)
        late.write_bytes(pem)
        clock.now += LOOK
        assert signer(tokens) == kid_of(key)
        clock.now += ACTIVATION_DELAY
        assert signer(tokens) == kid_of(late)

    @pytest.mark.parametrize("name", ["key.pem", "20301399T000000Z.pem"])
    def test_a_name_without_a_time_is_left_out(self, tmp_path, clock, instance, key, name):
        tokens = instance()
        (tmp_path / name).write_bytes(pem_of(private_key(serial=1)))
        clock.now += timedelta(days=1)
        assert signer(tokens) == kid_of(key)

    def test_a_pipe_does_not_hold_up_anything(self, tmp_path, clock, instance, key):
        tokens = instance()
        os.mkfifo(tmp_path / "20300101T000000Z.pem")
        clock.now += LOOK
        assert signer(tokens) == kid_of(key)

    def test_a_key_that_is_being_overwritten_stays_what_it_was(self, clock, instance, key):
        tokens, kid = instance(), kid_of(key)
        token = tokens.issue("some-id", "s")
        key.write_bytes(b"-----BEGIN PRI")
        clock.now += LOOK
        assert not refuses(tokens, token)
        assert signer(tokens) == kid

    def test_a_folder_that_cannot_be_read_keeps_its_keys(self, tmp_path, clock, instance, key):
        tokens, kid = instance(), kid_of(key)
        token = tokens.issue("some-id", "s")
        tmp_path.rename(tmp_path.with_name("away"))
        for _ in range(3):
            clock.now += LOOK
            assert not refuses(tokens, token)
        tmp_path.with_name("away").rename(tmp_path)
        clock.now += LOOK
        assert signer(tokens) == kid

    def test_the_same_key_twice_is_one(self, tmp_path, clock, key):
        (tmp_path / "20300101T000000Z.pem").write_bytes(key.read_bytes())
        assert len(SigningKeyStore(tmp_path, clock).keys()) == 1


class TestTokensOfTheSecret:
    def test_are_valid_beside_those_of_keys(self, tmp_path, clock, instance):
        token = AccessTokens(SECRET, clock).issue("some-id", "s")
        add_key(tmp_path)
        assert instance().verify(token).user_id == "some-id"

    def test_are_refused_when_they_name_a_key_of_the_folder(self, tmp_path, clock, instance):
        from jose import jwt

        add_key(tmp_path, algorithm="RS256")
        tokens = instance()
        token = tokens.issue("some-id", "s")
        kid = jwt.get_unverified_header(token)["kid"]
        forged = jwt.encode(jwt.get_unverified_claims(token), TEST_SECRET, "HS256", headers={"kid": kid})
        assert refuses(tokens, forged)

"""Access tokens: one that is not entirely ours and in force is an InvalidToken, whatever is wrong with it."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_api.kernel.clock import utc_now
from shop_api.kernel.errors import InvalidToken
from shop_api.security.tokens import AUDIENCE, ISSUER, LIFETIME, AccessTokens
from support.factories import TEST_SECRET

SECRET = TEST_SECRET.encode()


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock) -> AccessTokens:
    return AccessTokens(SECRET, clock)


def refuses(tokens: AccessTokens, token: str) -> bool:
    try:
        tokens.verify(token)
    except InvalidToken:
        return True
    return False


def segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def parts(token: str) -> tuple[dict, dict]:
    header, claims, _ = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    return json.loads(header), json.loads(claims)


def signed(header: object, claims: object, secret: bytes = SECRET, digest: str = "sha256") -> str:
    """A token with any header and claims, truly signed with our secret: by somebody who has it, or by an older us."""
    text = f"{segment(header)}.{segment(claims)}"
    return f"{text}.{segment(hmac.digest(secret, text.encode(), digest))}"


class TestIssue:
    def test_a_token_names_the_user_and_the_session(self, tokens):
        claims = tokens.verify(tokens.issue("some-id", "some-session"))
        assert claims == ("some-id", "some-session")

    def test_a_token_says_what_the_contract_lists(self, tokens, clock):
        header, claims = parts(tokens.issue("some-id", "some-session"))
        now = int(clock.now.timestamp())
        assert claims.pop("jti")
        assert claims == {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "some-id",
            "sid": "some-session",
            "typ": "access",
            "iat": now,
            "nbf": now,
            "exp": now + 15 * 60,
        }
        assert header.keys() == {"alg", "typ", "kid"}
        assert header["alg"] == "HS256"

    def test_no_two_tokens_are_the_same(self, tokens):
        assert len({tokens.issue("some-id", "some-session") for _ in range(100)}) == 100

    def test_the_key_id_does_not_give_the_secret_away(self, tokens):
        kid = parts(tokens.issue("some-id", "some-session"))[0]["kid"]
        assert kid not in TEST_SECRET
        assert len(kid) == 16

    def test_another_instance_with_the_same_secret_takes_it(self, tokens, clock):
        assert AccessTokens(SECRET, clock).verify(tokens.issue("some-id", "s")).user_id == "some-id"

    def test_an_instance_with_another_secret_does_not(self, tokens, clock):
        assert refuses(AccessTokens(b"x" + SECRET, clock), tokens.issue("some-id", "s"))

    @pytest.mark.parametrize(
        "secret", [b'{"kty": "oct", "k": "0123456789abcdef0123456789abcdef"}', bytes(range(200, 250))]
    )
    def test_a_secret_is_plain_bytes_whatever_it_looks_like(self, secret, clock):
        tokens = AccessTokens(secret, clock)
        assert tokens.verify(tokens.issue("some-id", "s")).user_id == "some-id"


class TestPreviousSecrets:
    OLD = b"another secret of thirty-two bytes"

    def test_tokens_of_a_previous_secret_are_taken_and_none_is_issued_with_it(self, tokens, clock):
        rotated = AccessTokens(b"new" + SECRET, clock, previous=[self.OLD, SECRET])
        assert rotated.verify(tokens.issue("some-id", "s")).user_id == "some-id"
        assert rotated.verify(AccessTokens(self.OLD, clock).issue("some-id", "s")).user_id == "some-id"
        assert refuses(tokens, rotated.issue("some-id", "s"))

    def test_a_secret_that_is_announced_is_taken_before_it_signs(self, clock):
        """In every step of a change, each instance takes what those before and after that step issue."""
        old, new = SECRET, self.OLD
        steps = [(old, []), (old, [new]), (new, [old]), (new, [])]
        instances = [AccessTokens(secret, clock, previous=previous) for secret, previous in steps]
        for one, next_one in pairwise(instances):
            assert not refuses(one, next_one.issue("some-id", "s"))
            assert not refuses(next_one, one.issue("some-id", "s"))
        assert refuses(instances[3], instances[0].issue("some-id", "s"))

    def test_one_secret_does_not_sign_in_the_name_of_another(self, tokens, clock):
        rotated = AccessTokens(self.OLD, clock, previous=[SECRET])
        header, claims = parts(tokens.issue("some-id", "s"))
        assert refuses(rotated, signed(header, claims, secret=self.OLD))


class TestTime:
    def test_a_token_works_until_it_expires(self, tokens, clock):
        token = tokens.issue("some-id", "s")
        clock.now += LIFETIME - timedelta(seconds=1)
        assert not refuses(tokens, token)
        clock.now += timedelta(seconds=6)
        assert refuses(tokens, token)

    def test_a_clock_a_little_behind_takes_a_new_token_and_one_far_behind_does_not(self, tokens, clock):
        token = tokens.issue("some-id", "s")
        clock.now -= timedelta(seconds=4)
        assert not refuses(tokens, token)
        clock.now -= timedelta(minutes=1)
        assert refuses(tokens, token)

    def test_the_real_clock_issues_what_the_real_clock_takes(self):
        tokens = AccessTokens(SECRET, utc_now)
        assert not refuses(tokens, tokens.issue("some-id", "s"))


NO_STRING: tuple[object, ...] = (None, [], ["other"], {}, {"a": 1}, True, 0, 1e400)
NO_TIME: tuple[object, ...] = (None, "", "soon", [], {}, True, 1.5, 1e400, float("nan"))
WRONG = {
    "iss": (*NO_STRING, "", "other"),
    "aud": (*NO_STRING, "", "other"),
    "typ": (*NO_STRING, "", "other", "refresh", "ACCESS"),
    "sub": NO_STRING,
    "sid": NO_STRING,
    "jti": (None, [], {}, 1, True),
    "iat": (None, "", "soon", [], {}, 1e400),
    "nbf": (*NO_TIME, 10**400),
    "exp": (*NO_TIME, -1, 0, -(10**400)),
}


class TestClaims:
    def test_the_forger_of_these_tests_can_make_a_valid_one(self, tokens):
        assert not refuses(tokens, signed(*parts(tokens.issue("some-id", "s"))))

    @pytest.mark.parametrize("claim", ["iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp", "typ"])
    def test_every_claim_is_required(self, tokens, claim):
        header, claims = parts(tokens.issue("some-id", "s"))
        del claims[claim]
        assert refuses(tokens, signed(header, claims))

    @pytest.mark.parametrize(("claim", "values"), WRONG.items(), ids=WRONG)
    def test_every_claim_has_to_be_right(self, tokens, claim, values):
        header, claims = parts(tokens.issue("some-id", "s"))
        assert [v for v in values if not refuses(tokens, signed(header, {**claims, claim: v}))] == []

    @pytest.mark.parametrize("claims", [[], "text", 1, None, True, {}, b"", b"not json", b"\xff", b"[" * 2000])
    def test_claims_that_are_no_object_of_ours_are_refused(self, tokens, claims):
        header, _ = parts(tokens.issue("some-id", "s"))
        assert refuses(tokens, signed(header, claims))


class TestHeader:
    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 0, [], {}, "hs256", "RS256", "ES256"])
    def test_another_algorithm_is_refused(self, tokens, algorithm):
        header, claims = parts(tokens.issue("some-id", "s"))
        assert refuses(tokens, signed({**header, "alg": algorithm}, claims))

    @pytest.mark.parametrize(("algorithm", "digest"), [("HS384", "sha384"), ("HS512", "sha512")])
    def test_another_algorithm_is_refused_even_when_truly_signed(self, tokens, algorithm, digest):
        header, claims = parts(tokens.issue("some-id", "s"))
        assert refuses(tokens, signed({**header, "alg": algorithm}, claims, digest=digest))

    @pytest.mark.parametrize("algorithm", ["none", "HS256"])
    def test_a_token_without_a_signature_is_refused(self, tokens, algorithm):
        header, claims = parts(tokens.issue("some-id", "s"))
        assert refuses(tokens, f"{segment({**header, 'alg': algorithm})}.{segment(claims)}.")

    def test_a_token_without_an_algorithm_is_refused(self, tokens):
        header, claims = parts(tokens.issue("some-id", "s"))
        del header["alg"]
        assert refuses(tokens, signed(header, claims))

    def test_a_token_without_a_key_id_is_refused(self, tokens):
        header, claims = parts(tokens.issue("some-id", "s"))
        del header["kid"]
        assert refuses(tokens, signed(header, claims))

    @pytest.mark.parametrize(
        "kid", ["", "other", None, 0, 1.5, True, [], ["kid"], {"a": 1}, "../../dev/null", "x" * 2000]
    )
    def test_another_key_id_is_refused(self, tokens, kid):
        header, claims = parts(tokens.issue("some-id", "s"))
        assert refuses(tokens, signed({**header, "kid": kid}, claims))

    def test_an_extension_that_must_be_understood_is_refused(self, tokens):
        header, claims = parts(tokens.issue("some-id", "s"))
        assert refuses(tokens, signed({**header, "crit": ["b64"], "b64": False}, claims))

    def test_a_key_in_the_header_is_not_used(self, tokens):
        header, claims = parts(tokens.issue("some-id", "s"))
        key = {"kty": "oct", "k": segment(b"k" * 32)}
        assert refuses(tokens, signed({**header, "jwk": key}, claims, secret=b"k" * 32))

    @pytest.mark.parametrize("header", [[], "text", 1, None, {}, b"", b"not json", b"\xff", b"[" * 2000])
    def test_a_header_that_is_no_object_of_ours_is_refused(self, tokens, header):
        _, claims = parts(tokens.issue("some-id", "s"))
        assert refuses(tokens, signed(header, claims))


class TestAnyText:
    @pytest.mark.parametrize(
        "token",
        [
            *(
                "",
                ".",
                "..",
                "...",
                "a",
                "a.b",
                "a.b.c",
                "a.b.c.d",
                " ",
                "\n",
                "\0",
                "ä.ö.ü",
                "😀",
                "\ud800.\ud800.a",
            ),
            "." * 4096,
            "a" * 4097,
            "a" * 1_000_000,
            "[" * 3_000,
            *(
                f"{segment(bomb)}.{segment({})}.a"
                for bomb in (b"[" * 2_200, b'{"a":' * 440, b"[" * 1100 + b"]" * 1100)
            ),
            f"{segment(b'[' * 1000)}.{segment(b'[' * 1000)}.{segment(b'[' * 1000)}",
        ],
        ids=lambda token: f"{token[:6]!a} {len(token)}",
    )
    def test_what_is_no_token_is_refused(self, tokens, token):
        assert refuses(tokens, token)

    def test_a_token_changed_anywhere_is_refused(self, tokens):
        token = tokens.issue("some-id", "s")
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        for at, old in enumerate(token):
            nearest = alphabet[alphabet.index(old) ^ 1] if old in alphabet else "A"  # differs in the lowest bit
            for new in {nearest, "A", ".", "é", " ", "="} - {old}:
                assert refuses(tokens, token[:at] + new + token[at + 1 :]), (at, old, new)

    @pytest.mark.parametrize("extra", ["=", "==", "é", "éé", " ", "\n", "\0", "A", "AAAA", ".", "+", "$$$$", "!!!!"])
    def test_a_token_with_something_added_is_refused(self, tokens, extra):
        token = tokens.issue("some-id", "s")
        assert refuses(tokens, token + extra)
        assert refuses(tokens, extra + token)

    def test_a_token_cut_short_is_refused(self, tokens):
        token = tokens.issue("some-id", "s")
        assert all(refuses(tokens, token[:length]) for length in range(len(token)))

    @settings(deadline=None)
    @given(st.text())
    def test_any_text_is_refused(self, text):
        assert refuses(AccessTokens(SECRET, utc_now), text)

"""What may be a password, over HTTP: as long as people can remember, in any script, but not what everybody guesses.

After NIST SP 800-63B §5.1.1.2 and the OWASP cheat sheets on authentication and password storage.
"""

import json
import time
import unicodedata

import pytest

from shop_api.security.passwords import MAX_CODE_POINTS, normalised
from support.factories import PASSWORD

EMOJI, FAMILY, LIGATURE = "🐪", "👩‍👩‍👧", "ﷺ"  # one character each to see: 1 code point, 5, and 1 that stands for 18


async def registered(client, password, username="ada") -> int:
    return (await client.post("/register", json={"username": username, "password": password})).status_code


async def signed_in(client, password, username="ada") -> int:
    return (await client.post("/auth", json={"username": username, "password": password})).status_code


class TestLength:
    @pytest.mark.parametrize(
        "character", ["x", "é", "я", "語", EMOJI], ids=["ascii", "latin", "cyrillic", "han", "emoji"]
    )
    @pytest.mark.parametrize(("length", "status"), [(7, 422), (8, 201), (128, 201), (129, 422)])
    async def test_it_has_8_to_128_characters_however_many_bytes(self, anyone, character, length, status):
        password = character * length
        assert await registered(anyone, password) == status
        assert await signed_in(anyone, password) == (200 if status == 201 else 401)

    async def test_the_last_of_128_characters_counts(self, anyone):
        assert await registered(anyone, EMOJI * 127 + "x") == 201
        assert await signed_in(anyone, EMOJI * 127 + "y") == 401
        assert await signed_in(anyone, EMOJI * 127) == 401

    async def test_blanks_count_and_are_kept(self, anyone):
        assert await registered(anyone, "   a    ") == 201
        assert await signed_in(anyone, "a") == 401
        assert await signed_in(anyone, "   a   ") == 401
        assert await signed_in(anyone, "   a    ") == 200

    async def test_a_family_of_emoji_counts_by_its_code_points(self, anyone):
        assert await registered(anyone, FAMILY * 2) == 201


class TestTwins:
    """The same password as two keyboards write it."""

    @pytest.mark.parametrize(
        "word", ["Crème brûlée", "한국어 비밀번호", "Ångström unit"], ids=["french", "korean", "unit"]
    )
    @pytest.mark.parametrize(("first", "then"), [("NFC", "NFD"), ("NFD", "NFC")])
    async def test_one_signs_in_for_the_other(self, anyone, word, first, then):
        at_first, later = (unicodedata.normalize(form, word) for form in (first, then))
        assert at_first != later
        assert await registered(anyone, at_first) == 201
        assert await signed_in(anyone, later) == 200
        assert await signed_in(anyone, at_first) == 200

    @pytest.mark.parametrize(("length", "status"), [(7, 422), (8, 201), (128, 201), (129, 422)])
    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    async def test_they_are_as_long_as_each_other(self, anyone, form, length, status):
        written = unicodedata.normalize(form, "é" * length)
        assert await registered(anyone, written) == status
        if status == 201:
            for twin in ("NFC", "NFD"):
                assert await signed_in(anyone, unicodedata.normalize(twin, written)) == 200

    async def test_what_counts_is_what_is_hashed(self, anyone):
        """A ligature that stands for a phrase is not a short way past the upper limit."""
        assert len(normalised(LIGATURE * 128)) > 2000
        assert await registered(anyone, LIGATURE * 128) == 422


class TestWeak:
    @pytest.mark.parametrize(
        "password", ["password", "12345678", "qwertyuiop", "PassWord1", "ｐａｓｓｗｏｒｄ", "iloveyou"]
    )
    async def test_a_common_one_is_refused_in_any_case_and_width(self, anyone, password):
        response = await anyone.post("/register", json={"username": "ada", "password": password})
        assert response.status_code == 422
        assert response.json()["errors"] == [
            {
                "loc": ["body", "password"],
                "code": "weak_password",
                "message": "The password is among the most common passwords",
            }
        ]

    @pytest.mark.parametrize("password", ["ada.lovelace", "Ada.Lovelace", "ADA.LOVELACE", "ａｄａ.ｌｏｖｅｌａｃｅ"])
    @pytest.mark.parametrize("username", ["ada.lovelace", "Ada.Lovelace"])
    async def test_the_username_is_refused_in_any_case_and_width(self, anyone, username, password):
        assert await registered(anyone, password, username) == 422
        assert await registered(anyone, password + "!", username) == 201


class TestWithoutHashing:
    """Hashing is what costs, so what cannot be right is refused before."""

    @pytest.fixture
    def hashing(self, shop, monkeypatch):
        """The passwords that are hashed, as they are: the real work is done all the same."""
        context, hashed = shop.passwords._passwords._context, []
        for name in ("hash", "verify"):
            real = getattr(context, name)

            def noted(*given, real=real):
                hashed.append(given[0])
                return real(*given)

            monkeypatch.setattr(context, name, noted)
        return hashed

    async def test_a_password_that_is_tried_is_hashed(self, anyone, hashing):
        assert await registered(anyone, PASSWORD) == 201
        assert await signed_in(anyone, "wrong password") == 401
        assert await signed_in(anyone, "wrong password", "nobody") == 401
        assert hashing == [PASSWORD, "wrong password", "wrong password"]

    @pytest.mark.parametrize("length", [129, MAX_CODE_POINTS, MAX_CODE_POINTS + 1, 10_000])
    async def test_one_that_is_too_long_is_not(self, anyone, hashing, length):
        assert await registered(anyone, "x" * length) == 422
        assert await signed_in(anyone, "x" * length) == (422 if length > MAX_CODE_POINTS else 401)
        form = {"username": "ada", "password": "x" * length}
        assert (await anyone.post("/auth", data=form)).status_code == (422 if length > MAX_CODE_POINTS else 401)
        assert hashing == []

    @pytest.mark.parametrize("password", ["short", "password1", "charles-1815", ""])
    async def test_nor_is_one_that_is_short_or_weak(self, anyone, hashing, password):
        assert await registered(anyone, password, "charles-1815") == 422
        assert hashing == []

    async def test_so_it_is_refused_in_less_than_a_quarter_of_the_time(self, anyone):
        async def seconds(password: str) -> float:
            started = time.process_time()
            assert await signed_in(anyone, password) in (401, 422)
            return time.process_time() - started

        hashed = min([await seconds("wrong password") for _ in range(5)])
        too_long = min([await seconds("x" * 1_001) for _ in range(5)])
        assert too_long < hashed / 4


class TestNul:
    @pytest.mark.parametrize("path", ["/register", "/auth"])
    async def test_json_with_nul_is_400(self, anyone, path):
        body = json.dumps({"username": "ada", "password": "correct\0horse battery"}).encode()
        response = await anyone.post(path, content=body, headers={"Content-Type": "application/json"})
        assert (response.status_code, response.json()["code"]) == (400, "malformed_body")

    @pytest.mark.parametrize("form", [b"username=ada&password=%s%%00", b"username=ada%%00&password=%s"])
    async def test_in_a_form_it_does_not_end_a_password_or_a_name(self, anyone, form):
        assert await registered(anyone, PASSWORD) == 201
        content = form % PASSWORD.replace(" ", "+").encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await anyone.post("/auth", content=content, headers=headers)).status_code in (401, 422)

"""Forged access tokens over HTTP, for every way in which a shop can sign them.

Each attack begins with a token that works, from a real sign-in, and changes one thing about it. Where the change has
to be covered by the signature, the forger has the shop's key: otherwise it would be refused for the wrong reason.
"""

import base64
import hmac
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from conftest import client_of, running_app
from shop_api.security.signing_keys.files import PrivateKey
from shop_api.security.tokens import secret_kid
from support.factories import PASSWORD, TEST_SECRET
from support.key_files import add_key, private_key

Key = bytes | PrivateKey
SECRET = TEST_SECRET.encode()
HASHES: dict[str, HashAlgorithm] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
CREDENTIALS = {"username": "ada", "password": PASSWORD}


def segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signature(algorithm: str, key: Key, text: bytes) -> bytes:
    """What RFC 7518 §3 says it is, without the library that is under attack."""
    if isinstance(key, bytes):
        return hmac.digest(key, text, f"sha{algorithm[2:]}")
    digest = HASHES[algorithm[2:]]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = utils.decode_dss_signature(key.sign(text, ec.ECDSA(digest)))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    if algorithm.startswith("PS"):
        return key.sign(text, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return key.sign(text, padding.PKCS1v15(), digest)


@dataclass(frozen=True)
class Good:
    """A token that works, in its parts, and what signed it."""

    token: str
    algorithm: str
    key: Key
    client: httpx.AsyncClient

    @property
    def header(self) -> dict[str, Any]:
        return json.loads(base64.urlsafe_b64decode(self.token.split(".")[0] + "=="))

    @property
    def claims(self) -> dict[str, Any]:
        return json.loads(base64.urlsafe_b64decode(self.token.split(".")[1] + "=="))

    def signed(self, header: object, claims: object, key: Key | None = None, algorithm: str | None = None) -> str:
        text = f"{segment(header)}.{segment(claims)}"
        made = signature(algorithm or self.algorithm, self.key if key is None else key, text.encode())
        return f"{text}.{segment(made)}"

    def with_header(self, key: Key | None = None, algorithm: str | None = None, **members: object) -> str:
        return self.signed(self.header | members, self.claims, key, algorithm)

    def with_claims(self, **members: object) -> str:
        return self.signed(self.header, self.claims | members)

    async def answer(self, token: str, path: str = "/users/me") -> httpx.Response:
        return await self.client.get(path, headers={"Authorization": f"Bearer {token}"})

    async def works(self, token: str) -> bool:
        return (await self.answer(token)).status_code == 200

    async def refused(self, *tokens: str) -> None:
        for token in tokens:
            response = await self.answer(token)
            assert response.status_code == 401, f"{response.status_code} for {token[:200]}"
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["status"] == 401


@pytest.fixture(scope="module", params=["HS256", "RS256", "ES256"])
async def signed_in(request, engines, tmp_path_factory) -> AsyncIterator[Good]:
    """A token of a shop of its own, that signs with the secret or with a key file."""
    algorithm, folder = request.param, None
    key: Key = SECRET
    if algorithm != "HS256":
        key, folder = private_key(algorithm), tmp_path_factory.mktemp("keys")
        add_key(folder, algorithm=algorithm)
    settings = engines.model_copy(update={"jwt_keys_dir": folder, "mongo_db": f"test-{uuid.uuid4().hex[:12]}"})
    async with running_app(settings) as app, client_of(app) as client:
        assert (await client.post("/register", json=CREDENTIALS)).status_code == 201
        tokens = (await client.post("/auth", json=CREDENTIALS)).json()
        yield Good(tokens["access_token"], algorithm, key, client)
        await app.state.services.database.client.drop_database(settings.mongo_db)


@pytest.fixture
async def good(signed_in) -> Good:
    assert await signed_in.works(signed_in.token)
    assert signed_in.header["alg"] == signed_in.algorithm
    return signed_in


class TestTheForger:
    async def test_can_make_a_token_that_works(self, good):
        assert await good.works(good.signed(good.header, good.claims))
        assert await good.works(good.with_claims(jti="another"))


class TestAlgorithm:
    @pytest.mark.parametrize("none", ["none", "None", "NONE", "nOnE"])
    async def test_none_is_refused(self, good, none):
        body = segment(good.claims)
        for header in (good.header | {"alg": none}, {"alg": none}, {"alg": none, "typ": "JWT"}):
            await good.refused(f"{segment(header)}.{body}.", f"{segment(header)}.{body}")
            await good.refused(f"{segment(header)}.{body}.{good.token.rpartition('.')[2]}")
        await good.refused(good.with_header(alg=none))

    @pytest.mark.parametrize(
        "other", ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384"]
    )
    async def test_another_than_that_of_the_key_is_refused_even_when_truly_signed(self, good, other):
        if other == good.algorithm:
            other = "PS512" if other.startswith("RS") else other[:2] + "512"
        if other[:2] == good.algorithm[:2] or (other[0], good.algorithm[0]) == ("P", "R"):
            await good.refused(good.with_header(alg=other, algorithm=other))  # the same key, another algorithm
        await good.refused(good.with_header(alg=other))

    @pytest.mark.parametrize("algorithm", [None, "", 0, [], {}, ["HS256"], "hs256", "HS256 ", "rs256"])
    async def test_what_is_none_at_all_is_refused(self, good, algorithm):
        await good.refused(good.with_header(alg=algorithm))

    async def test_a_token_that_names_none_is_refused(self, good):
        await good.refused(good.signed({"kid": good.header["kid"], "typ": "JWT"}, good.claims))


class TestSignature:
    async def test_stripped_is_refused(self, good):
        text = good.token.rpartition(".")[0]
        await good.refused(text, f"{text}.", f"{text}..", f"{text}. ")

    @pytest.mark.parametrize("null", [b"\0", b"\0" * 32, b"\0" * 64, b"\0" * 256, b"null"], ids=len)
    async def test_null_is_refused(self, good, null):
        text = good.token.rpartition(".")[0]
        await good.refused(f"{text}.{segment(null)}", f"{text}.null")

    async def test_of_an_empty_key_is_refused(self, good):
        await good.refused(good.with_header(alg="HS256", key=b"", algorithm="HS256"))
        await good.refused(good.with_header(alg="HS256", kid="", key=b"", algorithm="HS256"))
        await good.refused(good.with_header(alg="HS256", kid=secret_kid(b""), key=b"", algorithm="HS256"))

    async def test_of_another_text_is_refused(self, good):
        header, claims, signed = good.token.split(".")
        await good.refused(f"{header}.{segment(good.claims | {'sub': 'somebody else'})}.{signed}")
        await good.refused(f"{segment(good.header | {'x': 1})}.{claims}.{signed}")

    async def test_with_spare_bits_is_refused(self, good):
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        raw = good.token.rpartition(".")[2]
        last = alphabet.index(raw[-1])
        other = raw[:-1] + alphabet[last ^ 1]
        assert base64.urlsafe_b64decode(other + "==") == base64.urlsafe_b64decode(raw + "==")
        await good.refused(good.token[:-1] + alphabet[last ^ 1])

    @pytest.mark.parametrize("added", ["=", "==", "A", "AAAA", "."])
    async def test_with_something_added_is_refused(self, good, added):
        await good.refused(good.token + added)


class TestPublicKeyAsSecret:
    """RFC 8725 §2.1: everybody has the public key."""

    @pytest.fixture(params=["PEM", "PEM without its last line end", "PKCS1", "DER", "JWK"])
    def public(self, request, good) -> bytes:
        pair = good.key if not isinstance(good.key, bytes) else private_key("RS256")
        key = pair.public_key()
        if request.param == "DER":
            return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if request.param == "PKCS1" and hasattr(key, "encrypt"):
            return key.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem.rstrip() if "without" in request.param else pem

    async def test_is_refused(self, good, public):
        await good.refused(good.with_header(alg="HS256", key=public, algorithm="HS256"))
        for kid in (secret_kid(public), secret_kid(SECRET)):
            await good.refused(good.with_header(alg="HS256", kid=kid, key=public, algorithm="HS256"))
        await good.refused(good.with_header(key=public, algorithm="HS256"))

    async def test_is_refused_as_the_text_that_the_shop_publishes(self, good):
        published = (await good.client.get("/.well-known/jwks.json")).json()
        texts = [published, *published["keys"]]
        for text in texts:
            for spelt in (json.dumps(text), json.dumps(text, separators=(",", ":"))):
                await good.refused(good.with_header(alg="HS256", key=spelt.encode(), algorithm="HS256"))


class TestTheSecretBesideKeys:
    async def test_its_tokens_stay_valid_under_its_own_id_only(self, good):
        own = {"alg": "HS256", "kid": secret_kid(SECRET)}
        assert await good.works(good.with_header(**own, key=SECRET, algorithm="HS256"))
        if good.algorithm != "HS256":
            await good.refused(good.with_header(alg="HS256", key=SECRET, algorithm="HS256"))
            await good.refused(good.with_header(kid=secret_kid(SECRET)))


class TestKeyInTheToken:
    @pytest.fixture
    def listener(self):
        """Where a shop that fetches keys would come to, on this machine."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            yield server

    @pytest.mark.parametrize("kid", [None, "mine"])
    async def test_is_not_used(self, good, kid):
        attacker = private_key("RS256", serial=99).public_key()
        numbers = attacker.public_numbers()
        assert isinstance(numbers, rsa.RSAPublicNumbers)
        number = lambda n: segment(n.to_bytes((n.bit_length() + 7) // 8, "big"))  # noqa: E731
        named = {} if kid is None else {"kid": kid}
        jwk = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **named}
        key = private_key("RS256", serial=99)
        await good.refused(good.with_header(**named, alg="RS256", jwk=jwk, key=key, algorithm="RS256"))
        oct_jwk = {"kty": "oct", "k": segment(b"k" * 32), **named}
        await good.refused(good.with_header(**named, alg="HS256", jwk=oct_jwk, key=b"k" * 32, algorithm="HS256"))

    @pytest.mark.parametrize("member", ["jku", "x5u"])
    @pytest.mark.parametrize("kid", [None, "mine"])
    async def test_is_not_fetched(self, good, listener, member, kid):
        named = {} if kid is None else {"kid": kid}
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        key = private_key("RS256", serial=99)
        await good.refused(good.with_header(**named, **{member: address}, alg="RS256", key=key, algorithm="RS256"))
        with pytest.raises(BlockingIOError):  # nobody has come
            listener.accept()

    @pytest.mark.parametrize("member", ["x5c", "x5t", "x5t#S256"])
    async def test_is_not_taken_from_a_certificate(self, good, member):
        key = private_key("RS256", serial=99)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        value = [base64.b64encode(public).decode()]
        await good.refused(good.with_header(**{member: value}, alg="RS256", key=key, algorithm="RS256"))


class TestKeyId:
    @pytest.mark.parametrize(
        "kid",
        [
            "../../dev/null",
            "/dev/null",
            "../../../../../../dev/null",
            "file:///dev/null",
            "' OR 1=1 --",
            "$(id)",
            "\0",
        ],
    )
    async def test_that_is_a_path_or_a_command_is_refused(self, good, kid):
        for key in (b"", b"\0"):
            await good.refused(good.with_header(kid=kid, alg="HS256", key=key, algorithm="HS256"))
        await good.refused(good.with_header(kid=kid))

    @pytest.mark.parametrize("kid", [{}, {"$ne": None}, {"a": 1}, [], ["kid"], None, True, 0, 1.5, ""], ids=str)
    async def test_that_is_no_text_is_refused(self, good, kid):
        await good.refused(good.with_header(kid=kid))

    async def test_of_ten_kilobytes_is_refused(self, good):
        await good.refused(good.with_header(kid="x" * 10_000), good.with_header(kid="x" * 2_000))

    async def test_that_is_absent_is_refused(self, good):
        await good.refused(good.signed({"alg": good.algorithm, "typ": "JWT"}, good.claims))

    async def test_of_a_key_file_name_is_refused(self, good):
        await good.refused(good.with_header(kid="20200101T000000Z-ES256-0.pem"))

    async def test_an_extension_that_must_be_understood_is_refused(self, good):
        await good.refused(good.with_header(crit=["b64"], b64=True), good.with_header(crit=[]))


class TestClaims:
    async def test_expired_is_refused(self, good):
        now = int(time.time())
        await good.refused(good.with_claims(exp=now - 60), good.with_claims(iat=0, nbf=0, exp=now - 60))

    async def test_not_yet_valid_is_refused(self, good):
        await good.refused(good.with_claims(nbf=int(time.time()) + 60))

    @pytest.mark.parametrize("claim", ["exp", "iat", "nbf", "sub", "aud", "iss", "jti", "sid", "typ"])
    async def test_each_is_required(self, good, claim):
        claims = good.claims
        del claims[claim]
        await good.refused(good.signed(good.header, claims), good.with_claims(**{claim: None}))

    @pytest.mark.parametrize("claim", ["aud", "iss"])
    @pytest.mark.parametrize("value", ["other", "", "SHOP_API", "shop_api ", ["other"], {}, True])
    async def test_of_or_for_another_service_is_refused(self, good, claim, value):
        await good.refused(good.with_claims(**{claim: value}))

    @pytest.mark.parametrize("value", ["refresh", "ACCESS", "", ["access"], True])
    async def test_another_kind_of_token_is_refused(self, good, value):
        await good.refused(good.with_claims(typ=value))

    @pytest.mark.parametrize("value", ["1e400", "NaN", "Infinity", '"9999999999"', "[]"])
    async def test_an_end_that_is_no_time_is_refused(self, good, value):
        text = json.dumps(good.claims | {"exp": 0}).replace('"exp": 0', f'"exp": {value}')
        await good.refused(good.signed(good.header, text.encode()))

    async def test_somebody_who_does_not_exist_is_refused(self, good):
        await good.refused(*(good.with_claims(sub=sub) for sub in ("", "nobody", str(uuid.uuid4()), "ada", "admin")))

    @pytest.mark.parametrize(
        "members", [{"role": "admin"}, {"roles": ["admin"]}, {"is_admin": True}, {"scope": "admin"}]
    )
    async def test_a_role_has_no_effect(self, good, members):
        await good.refused(f"{good.token.split('.')[0]}.{segment(good.claims | members)}.{good.token.split('.')[2]}")
        token = good.with_claims(**members)
        assert (await good.answer(token)).json()["role"] == "user"
        assert (await good.answer(token, "/users")).status_code == 403


class TestWhatIsNoToken:
    @pytest.mark.parametrize(
        "bomb",
        [b"[" * 2200, b"[" * 1100 + b"]" * 1100, b'{"a":' * 440, b"[" * 3000],
        ids=lambda b: f"{b[:2]!r} {len(b)}",
    )
    async def test_nested_brackets_are_refused(self, good, bomb):
        header, claims, signed = good.token.split(".")
        await good.refused(f"{segment(bomb)}.{claims}.{signed}", f"{segment(bomb)}.{segment({})}.a")
        await good.refused(f"{segment(bomb[:1000])}.{segment(bomb[:1000])}.{signed}")
        await good.refused(f"{header}.{segment(bomb)}.{signed}", good.signed(good.header, bomb))
        await good.refused(bomb.decode(), f"{bomb.decode()}.{bomb.decode()}.a")

    @pytest.mark.parametrize("text", ["a", "a.b", "a.b.c", "a.b.c.d", "...", "null", "[]", "{}", "a" * 100_000])
    async def test_any_text_is_refused(self, good, text):
        await good.refused(text)

    async def test_the_refresh_token_is_refused(self, good):
        tokens = (await good.client.post("/auth", json=CREDENTIALS)).json()
        assert await good.works(tokens["access_token"])
        await good.refused(tokens["refresh_token"])

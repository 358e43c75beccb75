"""GET /.well-known/jwks.json: what others need to check our tokens, and nothing else."""

import asyncio
from datetime import timedelta

import pytest
from jose import jwk, jwt

from conftest import client_of, running_app
from shop_api.kernel.clock import utc_now
from support.key_files import add_key
from support.patience import PATIENCE

ADDRESS = "/.well-known/jwks.json"
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


@pytest.fixture
async def with_keys(app, engines, tmp_path):
    """A client of a shop with an old key and a new one that does not sign yet."""
    add_key(tmp_path)
    add_key(tmp_path, utc_now(), "RS256")
    settings = engines.model_copy(update={"jwt_keys_dir": tmp_path})
    async with running_app(settings) as shop, client_of(shop) as client:
        yield client


async def test_without_key_files_the_list_is_empty(anyone):
    response = await anyone.get(ADDRESS)
    assert (response.status_code, response.json()) == (200, {"keys": []})


async def test_may_be_kept_for_five_minutes_by_anyone(anyone):
    assert (await anyone.get(ADDRESS)).headers["cache-control"] == "public, max-age=300"


async def test_lists_all_keys_also_the_one_that_does_not_sign_yet(with_keys):
    keys = (await with_keys.get(ADDRESS)).json()["keys"]
    assert [(key["alg"], key["kty"], key["use"]) for key in keys] == [("ES256", "EC", "sig"), ("RS256", "RSA", "sig")]
    assert [set(key) for key in keys] == [
        {"kid", "alg", "use", "kty", "crv", "x", "y"},
        {"kid", "alg", "use", "kty", "n", "e"},
    ]


async def test_no_private_member_is_in_it(with_keys):
    keys = (await with_keys.get(ADDRESS)).json()["keys"]
    assert not [key for key in keys if PRIVATE & set(key)]


async def test_another_party_can_check_a_token_with_it(with_keys):
    account = {"username": "ada", "password": "correct horse battery"}
    await with_keys.post("/register", json=account)
    token = (await with_keys.post("/auth", json=account)).json()["access_token"]
    published = {key["kid"]: key for key in (await with_keys.get(ADDRESS)).json()["keys"]}
    key = published[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, jwk.construct(key), [key["alg"]], audience="shop_api")["typ"] == "access"


async def test_a_key_made_while_the_shop_runs_appears(with_keys, tmp_path):
    before = len((await with_keys.get(ADDRESS)).json()["keys"])
    add_key(tmp_path, utc_now() + timedelta(seconds=1), serial=1)
    async with asyncio.timeout(PATIENCE):
        while len((await with_keys.get(ADDRESS)).json()["keys"]) != before + 1:
            await asyncio.sleep(0.1)

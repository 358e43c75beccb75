"""Nobody finds out who has an account: not by what the answers say, nor by how long they take.

`make timing` measures what a client could: how long 300 sign-ins and resets of each kind take, on a machine that does
nothing else. In the suite, beside other work, it is the processor time of fewer, in which what a hash takes shows.
SHOP_TEST_SIGN_INS is the number that `make timing` sets.
"""

import os
import random
import time
from statistics import median

import pytest

from shop_api.features.users.repository import UserRepository
from support.factories import PASSWORD, a_user

QUIET = "SHOP_TEST_SIGN_INS" in os.environ
SIGN_INS = int(os.environ.get("SHOP_TEST_SIGN_INS", "9"))
clock = time.perf_counter if QUIET else time.process_time
INDISTINGUISHABLE = 0.005  # seconds
VARYING = {"x-request-id", "date"}

FAILURES = {
    "unknown user": {"username": "nobody", "password": PASSWORD},
    "wrong password": {"username": "ada", "password": "a wrong password"},
    "disabled user": {"username": "charles", "password": PASSWORD},
    "disabled user, wrong password": {"username": "charles", "password": "a wrong password"},
}


@pytest.fixture
async def stranger(admin, anyone):
    """Somebody without an account, in a shop with one user and one who is disabled."""
    for username in ("ada", "charles"):
        made = await admin.post("/register", json={"username": username, "password": PASSWORD})
        assert made.status_code == 201
    disabled = await admin.patch("/users/charles", json={"disabled": True})
    assert disabled.json()["disabled"]
    return anyone


class TestSignIn:
    @pytest.mark.parametrize("form", ["json", "data"])
    async def test_all_failures_say_the_same(self, stranger, form):
        said = set()
        for given in (
            *FAILURES.values(),
            {"username": "no name!", "password": "x"},
            {"username": "ada", "password": "x"},
        ):
            response = await stranger.post("/auth", **{form: given})
            problem = {name: value for name, value in response.json().items() if name != "request_id"}
            headers = [(name, value) for name, value in response.headers.multi_items() if name not in VARYING]
            said.add((response.status_code, str(problem), str(headers)))
        assert len(said) == 1
        assert response.json()["code"] == "invalid_credentials"

    async def test_all_failures_take_as_long(self, stranger):
        taken: dict[str, list[float]] = {kind: [] for kind in FAILURES}
        for _ in range(SIGN_INS):
            for kind, given in FAILURES.items():
                started = clock()
                response = await stranger.post("/auth", json=given)
                taken[kind].append(clock() - started)
                assert response.status_code == 401
        medians = {kind: median(seconds) for kind, seconds in taken.items()}
        print(medians)
        least, most = min(medians.values()), max(medians.values())
        assert most - least <= (INDISTINGUISHABLE if QUIET else least / 4), medians
        assert least > 2 * INDISTINGUISHABLE  # else the comparison means nothing

    async def test_it_still_works_for_those_who_have_an_account(self, stranger):
        assert (await stranger.post("/auth", json={"username": "ada", "password": PASSWORD})).status_code == 200


@pytest.mark.campaign
async def test_resets_take_as_long_whoever_has_the_address(stranger, shop):
    """What is done for a request is counted in test_email.py; here is the time that a client sees."""
    await UserRepository(shop.database).add(a_user("eve", email="eve@shop.example", email_verified=True))
    taken: dict[str, list[float]] = {email: [] for email in ("eve@shop.example", "nobody@shop.example")}
    for _ in range(SIGN_INS):
        for email in random.sample(list(taken), len(taken)):
            started = time.perf_counter()
            response = await stranger.post("/auth/password/reset", json={"email": email})
            taken[email].append(time.perf_counter() - started)
            assert response.status_code == 202
    medians = [median(seconds) for seconds in taken.values()]
    print(medians)
    assert max(medians) - min(medians) <= INDISTINGUISHABLE


class TestUsers:
    async def test_a_user_is_refused_whether_the_other_exists_or_not(self, stranger, sign_in):
        eve = await sign_in("eve")
        for client, status in ((eve, 403), (stranger, 401)):
            for method in ("GET", "PATCH", "DELETE"):
                said = set()
                for name in ("ada", "charles", "nobody"):
                    body = {"role": "admin"} if method == "PATCH" else None
                    response = await client.request(method, f"/users/{name}", json=body)
                    assert response.status_code == status
                    said.add(response.text.replace(response.headers["x-request-id"], "").replace(name, ""))
                assert len(said) == 1

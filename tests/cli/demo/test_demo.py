"""`shop-api demo`: something to look at in a new shop."""

import json
import os
import pty
import re
import subprocess
import uuid
from collections import Counter

import httpx
import pytest

from shop_api.cli.demo.catalogue import CATEGORIES, product
from shop_api.features.products.models import ProductIn
from shop_api.kernel.money import EXPONENTS
from support.patience import PATIENCE
from support.processes import SHOP_API, environment, serving, token_of
from support.processes import run as run_command

pytestmark = pytest.mark.long


class TestProducts:
    def test_of_one_seed_are_the_same_and_of_another_are_others(self):
        first = [product(1, number) for number in range(1, 301)]
        assert first == [product(1, number) for number in range(1, 301)]
        assert sum(product(2, number) in first for number in range(1, 301)) == 0

    def test_are_what_the_shop_takes_with_ids_of_their_own(self):
        products = [ProductIn.model_validate(product(1, number)) for number in range(1, 2001)]
        assert len({each.product_id for each in products}) == 2000

    def test_look_like_a_shop(self):
        products = [product(1, number) for number in range(1, 301)]
        of_category = Counter(each["category"] for each in products)
        assert len(of_category) >= 8
        assert of_category["tea"] > 2 * of_category["stationery"] > 0
        assert len({each["brand"] for each in products}) > 20
        assert 5 <= sum(each["stock"] == 0 for each in products) <= 50
        assert 5 <= sum(each["status"] != "active" for each in products) <= 50
        assert all(each["tags"] and each["attributes"] and len(each["description"]) > 20 for each in products)

    def test_cost_what_their_category_says_in_minor_units_of_its_currency(self):
        limits = {category["slug"]: (category["currency"], *category["prices"]) for category in CATEGORIES.values}
        for number in range(1, 1001):
            made = product(1, number)
            currency, low, high = limits[made["category"]]
            assert made["price"]["currency"] == currency
            assert 0.9 * low <= made["price"]["amount"] / 10 ** EXPONENTS[currency] <= 1.1 * high
        assert {EXPONENTS[currency] for currency, _, _ in limits.values()} == {0, 2, 3}


@pytest.fixture
def new(engines):
    """Settings for a shop with nothing in it."""
    return engines.model_copy(update={"mongo_db": f"test-{uuid.uuid4().hex[:12]}"})


def run(settings, *options):
    done = run_command(environment(settings), "demo", *options)
    assert "Traceback" not in done.stderr
    return done


def exported(settings):
    done = run_command(environment(settings), "products", "export")
    assert done.returncode == 0
    kept = ("version", "created_at", "updated_at")
    return [{k: v for k, v in json.loads(line).items() if k not in kept} for line in done.stdout.splitlines()]


class TestCommand:
    def test_fills_a_running_shop_in_which_everybody_can_sign_in_and_refuses_to_do_it_twice(self, new, tmp_path):
        with serving(new, tmp_path, admin=("root", "correct horse battery")) as url:
            done = run(new, "--products", "200")
            assert done.returncode == 0, done.stderr
            assert "100 of 200 products" in done.stderr
            people = re.findall(r"^(\S+) +(\S+) (admin|user)$", done.stdout, re.M)
            assert [role for _, _, role in people] == ["admin", "user", "user"]
            for name, password, role in people:
                token = token_of(url, name, password)
                status = httpx.get(f"{url}/users", headers={"Authorization": f"Bearer {token}"}).status_code
                assert status == (200 if role == "admin" else 403)
            assert httpx.get(f"{url}/").json()["products"] == 200
            assert httpx.get(f"{url}/products", params={"include_total": True}).json()["total"] > 150

            again = run(new)
            assert again.returncode == 1
            assert "200 products already: nothing was done" in again.stderr
            assert httpx.get(f"{url}/").json()["products"] == 200

    def test_is_the_same_every_time_and_with_force_adds_what_is_missing(self, new):
        assert run(new, "--products", "30").returncode == 0
        first = exported(new)
        assert len(first) == 30
        done = run(new, "--products", "60", "--force")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("(the password it had before)") == 3
        both = exported(new)
        assert len(both) == 60
        assert all(each in both for each in first)

    def test_shows_a_bar_on_a_terminal(self, new):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [SHOP_API, "demo", "--products", "50"],
            env=environment(new, TERM="xterm", COLUMNS="80"),
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        os.close(ours)
        assert process.wait(PATIENCE) == 0
        assert "adding products" in shown.decode()
        assert "100%" in shown.decode()

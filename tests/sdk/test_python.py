"""The Python client, against the real service."""

import json
import os
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import shop_api
from sdk.refusing import Refusing, refusing
from support.factories import PASSWORD, a_product

# Not importorskip: without its generated parts the package cannot be imported at all, and with them it has to be.
if not (Path(__file__).parents[2] / "sdk/python/src/shop_client/generated").exists():
    pytest.skip("skipped: `make sdk` has not made the Python client here", allow_module_level=True)

from shop_client import Money, ProductIn, Registration, Shop, ShopError, Tokens, problems
from shop_client.generated.api.account import list_sessions
from shop_client.generated.models import ProductPatch, UserPatch
from shop_client.shop import ProductChanges, ProductFilters, UserChanges, UserFilters


@pytest.fixture
def shop(service: str) -> Iterator[Shop]:
    with Shop(service) as shop:
        yield shop


@pytest.fixture
def admin(shop: Shop) -> Shop:
    shop.sign_in("root", PASSWORD)
    return shop


@pytest.fixture
def troubled() -> Iterator[Refusing]:
    with refusing() as server:
        yield server


def test_registers_signs_in_and_out(shop, service):
    shop.register(Registration("ada", PASSWORD, email="ada@shop.example"))
    shop.sign_in("ada", PASSWORD)
    assert shop.users.get().email == "ada@shop.example"
    ended = shop.tokens
    shop.sign_out()
    assert shop.tokens is None
    with Shop(service, tokens=ended) as again:
        with pytest.raises(problems.InvalidRefreshToken):
            again.users.get()
        assert again.tokens is None
    with Shop(service, tokens=ended) as again:
        again.sign_out()
        assert again.tokens is None


def test_an_expired_access_token_is_refreshed(service, expired):
    with Shop(service, tokens=Tokens.from_dict(expired)) as shop:
        assert shop.users.get().username == "root"
        assert shop.tokens is not None
        assert shop.tokens.access_token != expired["access_token"]
        assert shop.tokens.refresh_token != expired["refresh_token"]


def test_twenty_threads_share_one_refresh(service, expired):
    # A second one would spend a spent token, which ends the session.
    with Shop(service, tokens=Tokens.from_dict(expired)) as shop:
        with ThreadPoolExecutor(20) as threads:
            names = [user.username for user in threads.map(lambda _: shop.users.get(), range(20))]
        assert names == ["root"] * 20
        sessions = list_sessions.sync(client=shop.client)
        assert sessions is not None
        assert any(session.current for session in sessions.items)


def test_a_wrong_password_is_told_from_a_missing_token(shop):
    with pytest.raises(problems.InvalidCredentials):
        shop.sign_in("root", "wrong")
    with pytest.raises(problems.Unauthenticated):
        shop.users.get()


def test_iteration_yields_all_thousand_once(shop):
    assert sorted(product.product_id for product in shop.products.all()) == [f"p{n:04}" for n in range(1000)]


def test_variants_come_in_their_order(shop):
    assert [product.product_id for product in shop.products.variants("tea set")] == ["p0002", "p0001", "p0000"]


def test_iteration_takes_filters(shop):
    found = list(shop.products.all(category="beauty", in_stock=True))
    assert len(found) == 99
    assert {product.category for product in found} == {"beauty"}


def test_an_update_of_a_stale_version_is_a_conflict(admin):
    read = admin.products.add(ProductIn("Sencha", Money(900, "JPY"), product_id="sencha"))
    try:
        assert admin.products.update(read, stock=3, price={"amount": 950}).version == read.version + 1
        with pytest.raises(problems.VersionConflict) as conflict:
            admin.products.update(read, stock=4)
        assert (conflict.value.status, conflict.value.current_version) == (412, read.version + 1)
        with pytest.raises(problems.VersionConflict):
            admin.products.remove(read)
        assert admin.products.get("sencha").price == Money(950, "JPY")
    finally:
        admin.products.remove(admin.products.get("sencha"))


def test_what_null_means_in_an_update_is_removal(admin):
    read = admin.products.get("p0001")
    changed = admin.products.update(read, brand=None, attributes={"organic": None, "origin": "Assam"})
    assert changed.brand is None
    assert changed.attributes.to_dict() == {"weight_g": 250, "origin": "Assam"}


def test_a_taken_id_and_a_refused_field_have_classes_of_their_own(admin):
    with pytest.raises(problems.DuplicateProduct):
        admin.products.add(ProductIn("Taken", Money(1, "INR"), product_id="p0000"))
    with pytest.raises(problems.InvalidRequest) as refused:
        admin.products.add(ProductIn("", Money(-1, "INR")))
    assert {".".join(map(str, field.loc)) for field in refused.value.errors} == {"body.name", "body.price.amount"}
    assert refused.value.request_id


def test_an_admin_lists_changes_and_removes_them(admin):
    grace = admin.register(Registration("grace", PASSWORD))
    assert "grace" in {user.username for user in admin.users.all(role="user")}
    disabled = admin.users.update(grace, disabled=True)
    assert disabled.disabled
    with pytest.raises(problems.VersionConflict):
        admin.users.remove(grace)
    admin.users.remove(disabled)
    with pytest.raises(problems.UserNotFound):
        admin.users.get("grace")


def test_its_readme_tells_the_truth_of_the_wheel(service, repository_root, tmp_path):
    wheels = list((repository_root / "sdk/dist").glob("*.whl"))
    assert wheels, "run: make sdk"
    with zipfile.ZipFile(wheels[0]) as packed:
        packed.extractall(tmp_path)
    assert (tmp_path / "shop_client/py.typed").exists()
    for example in re.findall("```python\n(.*?)```", (repository_root / "sdk/python/README.md").read_text(), re.S):
        text = example.replace("http://localhost:4000", service)
        text = text.replace("admin", "root").replace("THE_PASSWORD", PASSWORD)
        (tmp_path / "example.py").write_text(text + "\nimport shop_client; print(shop_client.__file__)")
        command = [sys.executable, "-W", "error", tmp_path / "example.py"]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert str(tmp_path) in done.stdout


def test_both_clients_have_the_version_of_the_service(repository_root):
    python = tomllib.loads((repository_root / "sdk/python/pyproject.toml").read_text())["project"]["version"]
    typescript = json.loads((repository_root / "sdk/typescript/package.json").read_text())["version"]
    assert python == typescript == shop_api.__version__


def test_its_filters_and_changes_are_those_of_the_document(repository_root):
    document = json.loads((repository_root / "openapi.json").read_text())

    def filters(path: str) -> set[str]:
        parameters = {parameter["name"] for parameter in document["paths"][path]["get"]["parameters"]}
        return parameters - {"limit", "cursor", "include_total"}

    assert ProductFilters.__annotations__.keys() == filters("/products")
    assert UserFilters.__annotations__.keys() == filters("/users")
    assert ProductChanges.__annotations__.keys() == ProductPatch.__annotations__.keys() - {"product_id"}
    assert UserChanges.__annotations__.keys() == UserPatch.__annotations__.keys()


class TestRetries:
    @pytest.mark.parametrize("status", [409, 429, 503])
    def test_what_the_shop_asks_to_repeat_is_repeated(self, troubled, status):
        troubled.answers[:] = [(status, "0"), (status, "0"), (200, "")]
        with Shop(troubled.url) as shop:
            assert shop.products.get("tea-assam-250").stock == 40

    def test_it_waits_as_long_as_it_is_asked_to(self, troubled):
        troubled.answers[:] = [(503, "1"), (200, "")]
        began = time.monotonic()
        with Shop(troubled.url) as shop:
            shop.products.get("tea-assam-250")
        assert time.monotonic() - began >= 1

    @pytest.mark.parametrize("asked", ["31", ""])
    def test_not_when_that_is_too_long_or_not_said(self, troubled, asked):
        troubled.answers[:] = [(429, asked)]
        with Shop(troubled.url) as shop, pytest.raises(problems.RateLimited):
            shop.products.get("tea-assam-250")

    def test_it_gives_up_in_the_end(self, troubled):
        troubled.answers[:] = [(503, "0")] * 5
        with Shop(troubled.url) as shop, pytest.raises(problems.DatabaseUnavailable):
            shop.products.get("tea-assam-250")
        assert len(troubled.requests) == 4

    @pytest.mark.parametrize("trouble", [0, 502])
    def test_a_creating_post_is_repeated_with_its_key(self, troubled, trouble):
        troubled.answers[:] = [(trouble, ""), (201, "")]
        with Shop(troubled.url) as shop:
            shop.products.add(ProductIn.from_dict(a_product()))
        (first, key), again = troubled.requests
        assert again == (first, key) == ("POST", key)
        assert re.fullmatch("[0-9a-f-]{36}", key)

    def test_a_change_is_not_repeated_when_nobody_knows_whether_it_happened(self, troubled):
        troubled.answers[:] = [(200, ""), (0, ""), (502, "")]
        with Shop(troubled.url) as shop:
            product = shop.products.get("tea-assam-250")
            with pytest.raises(httpx.TransportError):
                shop.products.update(product, stock=1)
            with pytest.raises(ShopError) as refused:
                shop.products.update(product, stock=1)
        assert refused.value.status == 502
        assert len(troubled.requests) == 3

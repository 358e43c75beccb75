"""What a browser gets."""

import re
from contextlib import ExitStack
from html import unescape
from html.parser import HTMLParser

import pymongo
import pytest
from pydantic import SecretStr

from conftest import client_of, running_app
from shop_api import embedded
from shop_api.settings import Settings
from support.factories import a_product

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def _lines(page):
    """What a person would copy into a terminal."""
    lines = [unescape(line) for line in re.findall(r"<code>(.*?)</code>", page, re.DOTALL)]
    assert len(lines) == 3
    return lines


class _Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("href", "src")]


class TestHome:
    async def test_is_json_for_programs(self, anyone):
        home = (await anyone.get("/")).json()
        assert (home["name"], home["status"], home["mongo"], home["redis"]) == ("shop_api", "up", "up", "up")
        for link in home["links"].values():
            assert (await anyone.get(link)).status_code == 200

    async def test_is_a_page_for_browsers(self, anyone):
        page = await anyone.get("/", headers=BROWSER)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "Healthy" in page.text
        links = _Links(page.text).found
        assert links
        for link in links:
            assert (await anyone.get(link)).status_code == 200

    async def test_counts_what_there_is(self, anyone, admin):
        for number in range(3):
            assert (await admin.post("/products", json=a_product(product_id=f"p{number}"))).status_code == 201
        home = (await anyone.get("/")).json()
        assert (home["products"], home["users"]) == (3, 1)
        page = (await anyone.get("/", headers=BROWSER)).text
        assert "<dt>Products</dt><dd>3</dd>" in page
        assert "<dt>Users</dt><dd>1</dd>" in page

    async def test_shows_the_address_that_is_set(self, engines):
        own = Settings.model_validate({**engines.model_dump(), "public_url": "https://api.shop.example/"})
        async with running_app(own) as app, client_of(app) as client:
            page = (await client.get("/", headers=BROWSER)).text
        assert [line for line in _lines(page) if "https://api.shop.example/" in line] == _lines(page)

    @pytest.mark.parametrize("host", ["shop.example", "shop.example:8443", "[::1]:4000", "127.0.0.1:4000"])
    async def test_shows_the_address_that_the_browser_used(self, anyone, host):
        page = (await anyone.get("/", headers={**BROWSER, "Host": host})).text
        assert [line for line in _lines(page) if f"http://{host}/" in line] == _lines(page)

    @pytest.mark.parametrize(
        "host", ["x'; rm -rf ~; '", "$(reboot)", "<script>alert(1)</script>", "a/../b", "user@evil.example", "", "["]
    )
    async def test_never_shows_a_line_that_a_host_header_made(self, anyone, host):
        page = (await anyone.get("/", headers={**BROWSER, "Host": host})).text
        assert [line for line in _lines(page) if "http://localhost:4000/" in line] == _lines(page)

    async def test_lets_a_page_load_and_run_nothing_and_nobody_keep_it(self, anyone):
        page = await anyone.get("/", headers=BROWSER)
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert "script-src" not in policy
        assert page.headers["cache-control"] == "no-store"

    async def test_says_down_and_no_numbers_without_the_database(self, engines, tmp_path):
        with ExitStack() as own:
            url = own.enter_context(embedded.mongo.running(tmp_path))
            settings = engines.model_copy(update={"mongo_url": SecretStr(url)})
            async with running_app(settings) as app, client_of(app) as client:
                own.close()
                with pymongo.timeout(1):
                    home = await client.get("/")
                with pymongo.timeout(1):
                    page = await client.get("/", headers=BROWSER)
        assert (home.status_code, page.status_code) == (200, 200)
        told = home.json()
        assert (told["status"], told["mongo"], told["redis"]) == ("down", "down", "up")
        assert (told["products"], told["users"]) == (None, None)
        assert "Down: the database does not answer" in page.text
        assert page.text.count("<dd>not known</dd>") == 2

    async def test_says_degraded_and_all_numbers_without_redis(self, engines):
        settings = engines.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
        async with running_app(settings) as app, client_of(app) as client:
            home = (await client.get("/")).json()
        assert (home["status"], home["mongo"], home["redis"]) == ("degraded", "up", "down")
        assert isinstance(home["products"], int)


class TestSwaggerUi:
    async def test_loads_nothing_from_elsewhere(self, anyone):
        page = await anyone.get("/docs")
        links = _Links(page.text).found
        assert len(links) == 3
        for link in links:
            assert not re.match(r"(https?:)?//", link)
            assert (await anyone.get(f"/{link}")).status_code == 200
        assert "url: 'openapi.json'" in page.text

    async def test_may_load_and_run_only_what_is_its_own(self, anyone):
        page = await anyone.get("/docs")
        policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert re.fullmatch(r"'self' 'sha256-\S+'", policy["script-src"])
        assert policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"

    async def test_missing_assets_are_problems(self, anyone):
        response = await anyone.get("/docs/assets/none.js")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


class TestProblemPages:
    @pytest.mark.parametrize("code", ["version_conflict", "not_found", "malformed_body"])
    async def test_explain_a_code(self, anyone, code):
        kind = (await anyone.get(f"/problems/{code}")).json()
        assert kind["code"] == code
        assert len(kind["description"]) > 20
        assert "\n" not in kind["description"]


class TestPolicy:
    @pytest.mark.parametrize("path", ["/", "/docs", "/problems/not_found"])
    async def test_a_page_loads_only_its_own_and_says_nothing_to_others(self, anyone, path):
        page = await anyone.get(path, headers=BROWSER)
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        for rest in ("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
            assert rest in policy
        assert "unsafe" not in policy
        assert page.headers["referrer-policy"] == "no-referrer"

    async def test_swagger_ui_keeps_nothing(self, anyone):
        page = await anyone.get("/docs", headers=BROWSER)
        assert '"persistAuthorization": false' in page.text

"""What a browser gets."""

import re
from html.parser import HTMLParser

import pytest


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
        assert (home["name"], home["mongo"], home["redis"]) == ("shop_api", "up", "up")
        for link in home["links"].values():
            assert (await anyone.get(link)).status_code == 200

    async def test_is_a_page_for_browsers(self, anyone):
        page = await anyone.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "Database: <strong>up</strong>" in page.text
        links = _Links(page.text).found
        assert links
        for link in links:
            assert (await anyone.get(link)).status_code == 200


class TestSwaggerUi:
    async def test_loads_nothing_from_elsewhere(self, anyone):
        page = await anyone.get("/docs")
        links = _Links(page.text).found
        assert len(links) == 3
        for link in links:
            assert not re.match(r"(https?:)?//", link)
            assert (await anyone.get(f"/{link}")).status_code == 200
        assert "url: 'openapi.json'" in page.text

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

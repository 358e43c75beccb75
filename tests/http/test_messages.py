"""What a 422 tells a person: in words, at a place in the body, and what would be right."""

import json
import re

import pytest

from shop_api.http.etags import IF_MATCH_PATTERN
from shop_api.http.idempotency.route import PARAMETER
from shop_api.kernel.messages import is_explained
from support.factories import a_product

NOT_FOR_PEOPLE = re.compile(r"constrained|\[key\]|value error|function-|pattern|\^\[|\\x|\$'", re.IGNORECASE)


async def errors(client, path: str, body: object) -> list[dict[str, object]]:
    answer = await client.post(path, json=body)
    assert answer.status_code == 422
    problem = answer.json()
    found: list[dict[str, object]] = problem["errors"]
    check_words(problem["detail"], *found)
    return found


def check_words(detail: str, *found: dict[str, object]) -> None:
    texts = [detail, *(str(error["message"]) for error in found)]
    assert not [text for text in texts if NOT_FOR_PEOPLE.search(text)]


@pytest.mark.parametrize(
    ("change", "loc", "words"),
    [
        ({"attributes": {"a": ["x"]}}, ["attributes", "a"], "a text of at most 500 characters, a number"),
        ({"attributes": {"a": None}}, ["attributes", "a"], "a number"),
        ({"attributes": {"a": "x" * 501}}, ["attributes", "a"], "at most 500"),
        ({"attributes": {"a.b": 1}}, ["attributes", "a.b"], "for a name"),
        ({"attributes": []}, ["attributes"], "object"),
        ({"price": {"amount": 1, "currency": "usd"}}, ["price", "currency"], "Give an ISO 4217 currency code"),
        ({"price": 7}, ["price"], "object"),
        ({"price": {"currency": "EUR"}}, ["price", "amount"], "required"),
        ({"category": "Black Tea"}, ["category"], "lower-case letters, digits and single hyphens"),
        ({"tags": ["ok", "Not ok"]}, ["tags", 1], "lower-case letters, digits and single hyphens"),
        ({"product_id": "a b"}, ["product_id"], "digits and . _ -"),
        ({"product_id": "facets"}, ["product_id"], "reserved"),
        ({"images": ["http://a.example/"]}, ["images", 0], "https"),
        ({"name": "a\nb"}, ["name"], "one line of text"),
        ({"description": 7}, ["description"], "text"),
        ({"surplus": 1}, ["surplus"], "no such field"),
    ],
)
async def test_of_a_product(admin, change, loc, words):
    (error,) = await errors(admin, "/products", a_product() | change)
    assert error["loc"] == ["body", *loc]
    assert words in str(error["message"])


async def test_of_an_account(anyone):
    body = {"username": "-a", "password": "short", "email": "x", "full_name": "\u2028"}
    found = await errors(anyone, "/register", body)
    assert [error["loc"] for error in found] == [["body", name] for name in body]
    assert "a letter or digit at both ends" in str(found[0]["message"])


@pytest.mark.parametrize("path", ["/products/a%20b", "/users/a%20b", "/products?category=A&limit=x&in_stock=maybe"])
async def test_of_an_address(admin, path):
    answer = await admin.get(path)
    assert answer.status_code == 422
    check_words(answer.json()["detail"], *answer.json()["errors"])


async def test_of_a_patch_it_is_a_place_in_the_patch(admin):
    await admin.post("/products", json=a_product())
    for patch, loc in (
        ({"attributes": {"a": ["x"]}}, ["attributes", "a"]),
        ({"price": {"currency": "usd"}}, ["price", "currency"]),
        ({"name": None}, ["name"]),
    ):
        answer = await admin.patch("/products/tea-assam-250", json=patch)
        assert [error["loc"] for error in answer.json()["errors"]] == [["body", *loc]]
        check_words(answer.json()["detail"], *answer.json()["errors"])


def test_each_pattern_of_a_field_is_explained(app):
    def patterns(part: object, place: str):
        if isinstance(part, dict):
            if isinstance(part.get("pattern"), str):
                yield place, part["pattern"]
            for name, below in part.items():
                yield from patterns(below, f"{place}.{name}")
        elif isinstance(part, list):
            for below in part:
                yield from patterns(below, place)

    document = app.openapi()
    found = list(patterns(document["components"]["schemas"], "")) + list(patterns(document["paths"], ""))
    assert len(found) > 10
    elsewhere = {IF_MATCH_PATTERN, PARAMETER["parameters"][0]["schema"]["pattern"]}  # with messages of their own
    assert {pattern for _, pattern in found if not is_explained(pattern)} == elsewhere


class TestOneLine:
    @pytest.mark.parametrize(
        "text",
        [
            *(
                "a\u0085b",
                "a\u009bb",
                "a\u2028b",
                "a\u2029b",
                "a\x7fb",
                "a\nb",
                "\u200b",
                "\ufeff",
                "\u00ad",
                "\u2060",
            ),
            *("\u3164", "\u2800", "\u202e", " \u200d ", "\u00a0", "\ufe0f", "\U000e0041", "\U000e0020\u200b"),
        ],
        ids=lambda text: text.encode("unicode_escape").decode(),
    )
    async def test_has_no_break_and_something_visible(self, admin, anyone, text):
        (error,) = await errors(admin, "/products", a_product(name=text))
        assert error["loc"] == ["body", "name"]
        body = {"username": "eva", "password": "correct horse battery", "full_name": text}
        assert [error["loc"] for error in await errors(anyone, "/register", body)] == [["body", "full_name"]]

    @pytest.mark.parametrize("text", ["क\u094d\u200dष", "👩\u200d👩\u200d👧", "\u200fשלום", "a\u00adb", "𝔘", "."])
    async def test_may_have_more_than_what_is_visible(self, admin, text):
        assert (await admin.post("/products", json=a_product(name=text))).json()["name"] == text

    async def test_what_was_stored_under_older_rules_is_read_and_changed_elsewhere(self, admin, anyone, shop):
        await admin.post("/products", json=a_product())
        old = {"$set": {"name": "a\u0085b", "brand": "\u200b", "tags": ["zz", "zz"]}}
        await shop.database["products"].update_one({"_id": "tea-assam-250"}, old)
        shop.cache.clear()
        assert (await anyone.get("/products/tea-assam-250")).json()["name"] == "a\u0085b"
        assert (await anyone.get("/products?tag=zz")).json()["items"][0]["brand"] == "\u200b"
        changed = await admin.patch("/products/tea-assam-250", json={"stock": 7, "price": {"amount": 1}})
        assert (changed.status_code, changed.json()["stock"], changed.json()["price"]["amount"]) == (200, 7, 1)
        refused = await admin.patch("/products/tea-assam-250", json={"brand": "\u200b"})
        assert refused.status_code == 422


async def test_a_tag_counts_once(admin, anyone):
    added = await admin.post("/products", json=a_product(tags=["zz", "a", "zz"]))
    assert added.json()["tags"] == ["zz", "a"]
    changed = await admin.patch("/products/tea-assam-250", json={"tags": ["b", "zz", "b"]})
    assert changed.json()["tags"] == ["b", "zz"]
    facets = (await anyone.get("/products/facets?tag=zz")).json()
    assert {"value": "zz", "count": 1} in facets["tags"]


@pytest.mark.parametrize("amount", ["2500.0", "2.5e3", "25000e-1"])
async def test_a_number_without_a_fraction_is_an_integer(admin, amount):
    body = json.dumps(a_product()).replace("2500", amount)
    answer = await admin.post("/products", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["price"]["amount"]) == (201, 2500)
    assert '"amount":2500,' in answer.text

"""/products over HTTP, one class an operation."""

import asyncio

import pytest

from support.factories import a_product, changes


async def add(admin, *products):
    for product in products:
        response = await admin.post("/products", json=product)
        assert response.status_code == 201, response.text


async def names(client, query=""):
    response = await client.get(f"/products{query}")
    assert response.status_code == 200, response.text
    return [item["product_id"] for item in response.json()["items"]]


class TestAdd:
    async def test_needs_a_token(self, anyone):
        response = await anyone.post("/products", json=a_product())
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"

    async def test_a_user_may_not(self, user):
        assert (await user.post("/products", json=a_product())).status_code == 403

    async def test_answers_where_and_what(self, admin):
        response = await admin.post("/products", json=a_product())
        assert response.status_code == 201
        assert response.headers["location"] == "/products/tea-assam-250"
        added = response.json()
        assert {name: added[name] for name in a_product()} == a_product()
        assert changes(added) == 0
        assert added["created_at"] == added["updated_at"]
        assert added["created_at"].endswith("Z")

    async def test_the_rest_has_defaults(self, admin):
        body = {"name": "Plain", "price": {"amount": 0, "currency": "JPY"}}
        added = (await admin.post("/products", json=body)).json()
        for name, default in {"description": "", "stock": 0, "category": None, "tags": [], "attributes": {}}.items():
            assert added[name] == default
        assert added["status"] == "active"
        assert (await admin.get(f"/products/{added['product_id']}")).json() == added

    async def test_a_variant_is_kept_as_the_shop_writes_it(self, admin):
        options = [{"name": "Größe, EU", "value": "38 / 5"}, {"name": "_x", "value": "$"}]
        codes = {"sku": "Rope/88 (ä) № 7", "barcode": "0012345678905", "group": "g" * 255, "position": 3}
        body = a_product(**codes, options=options, weight_g=10**7, requires_shipping=False, tax_class="reduced")
        body["compare_at_price"] = {"amount": 2501, "currency": "INR"}
        added = (await admin.post("/products", json=body)).json()
        assert {name: added[name] for name in body} == body
        assert (await admin.get("/products/tea-assam-250")).json() == added

    async def test_texts_are_nfc_and_trimmed(self, admin):
        texts = {"name": " Cafe\u0301 ", "brand": "\u00a0e\u0301", "group": "e\u0301 "}
        body = a_product(**texts, description="\n e\u0301\n", attributes={"e\u0301 ": " e\u0301"})
        added = (await admin.post("/products", json=body)).json()
        assert (added["name"], added["description"], added["attributes"]) == ("Café", "é", {"é": "é"})
        for field in ("brand", "group"):
            found = (await admin.get("/products", params={field: "e\u0301"})).json()["items"]
            assert [item[field] for item in found] == ["é"]

    @pytest.mark.parametrize(
        ("change", "place"),
        [
            ({"sku": "a" * 256}, ["sku"]),
            ({"barcode": "\u200b"}, ["barcode"]),
            ({"group": "a\nb"}, ["group"]),
            ({"options": [{"name": "Size"}]}, ["options", 0, "value"]),
            ({"options": [{"name": "Size", "value": "S"}] * 2}, ["options"]),
            ({"options": [{"name": str(n), "value": "S"} for n in range(11)]}, ["options"]),
            ({"compare_at_price": {"amount": 2500, "currency": "INR"}}, ["compare_at_price"]),
            ({"compare_at_price": {"amount": 9900, "currency": "EUR"}}, ["compare_at_price"]),
            ({"weight_g": 10**7 + 1}, ["weight_g"]),
            ({"position": -1}, ["position"]),
            ({"tax_class": "Not a slug"}, ["tax_class"]),
            ({"name": "a" * 256}, ["name"]),
            ({"tags": [f"t{n}" for n in range(251)]}, ["tags"]),
            ({"attributes": {"é": 1, "e\u0301": 2}}, ["attributes"]),
        ],
    )
    async def test_what_is_not_valid_is_named(self, admin, change, place):
        response = await admin.post("/products", json=a_product(**change))
        assert response.status_code == 422
        assert [error["loc"] for error in response.json()["errors"]] == [["body", *place]]

    async def test_a_taken_id_is_409(self, admin):
        await add(admin, a_product())
        response = await admin.post("/products", json=a_product(name="Other"))
        assert (response.status_code, response.json()["code"]) == (409, "duplicate_product")
        assert (await admin.get("/products/tea-assam-250")).json()["name"] == "Assam tea, 250 g"

    async def test_of_20_at_once_with_one_id_one_is_added(self, admin):
        posts = (admin.post("/products", json=a_product(stock=n)) for n in range(20))
        statuses = [response.status_code for response in await asyncio.gather(*posts)]
        assert sorted(statuses) == [201] + [409] * 19

    async def test_attributes_keep_their_kind(self, admin):
        attributes = {"text": "1", "whole": 1, "real": 1.5, "yes": True, "Größe": "XL"}
        added = (await admin.post("/products", json=a_product(attributes=attributes))).json()
        stored = (await admin.get("/products/tea-assam-250")).json()["attributes"]
        assert stored == added["attributes"] == attributes
        assert [type(value) for value in stored.values()] == [str, int, float, bool, str]


class TestGet:
    async def test_returns_what_was_added(self, admin, anyone):
        added = await admin.post("/products", json=a_product())
        found = await anyone.get("/products/tea-assam-250")
        assert found.json() == added.json()
        assert found.headers["etag"] == f'"{added.json()["version"]}"'

    @pytest.mark.parametrize("status", ["draft", "archived"])
    async def test_only_an_admin_sees_what_is_not_active(self, admin, user, anyone, status):
        await add(admin, a_product(status=status))
        assert (await anyone.get("/products/tea-assam-250")).json()["code"] == "product_not_found"
        assert (await user.get("/products/tea-assam-250")).status_code == 404
        assert (await admin.get("/products/tea-assam-250")).json()["status"] == status

    async def test_a_bad_token_is_refused_even_where_none_is_needed(self, anyone):
        response = await anyone.get("/products/x", headers={"Authorization": "Bearer nonsense"})
        assert (response.status_code, response.json()["code"]) == (401, "invalid_token")


class TestReplace:
    async def test_a_user_may_not(self, admin, user, anyone):
        await add(admin, a_product())
        assert (await anyone.put("/products/tea-assam-250", json=a_product())).status_code == 401
        assert (await user.put("/products/tea-assam-250", json=a_product())).status_code == 403

    async def test_what_is_left_out_gets_its_default(self, admin):
        await add(admin, a_product())
        body = {"name": "New", "price": {"amount": 1, "currency": "USD"}}
        replaced = (await admin.put("/products/tea-assam-250", json=body)).json()
        assert (replaced["name"], replaced["brand"], replaced["tags"], changes(replaced)) == ("New", None, [], 1)
        assert replaced == (await admin.get("/products/tea-assam-250")).json()

    async def test_unchanged_is_200_and_the_same_version(self, admin):
        added = (await admin.post("/products", json=a_product())).json()
        response = await admin.put("/products/tea-assam-250", json=a_product())
        assert (response.status_code, response.json()) == (200, added)

    async def test_1_is_not_true(self, admin):
        await add(admin, a_product(attributes={"organic": 1}))
        replaced = await admin.put("/products/tea-assam-250", json=a_product(attributes={"organic": True}))
        assert replaced.json()["attributes"] == {"organic": True}
        assert changes(replaced.json()) == 1

    async def test_a_missing_one_is_404(self, admin):
        response = await admin.put("/products/none", json=a_product(product_id=None))
        assert (response.status_code, response.json()["code"]) == (404, "product_not_found")

    async def test_another_id_in_the_body_is_422(self, admin):
        await add(admin, a_product())
        response = await admin.put("/products/tea-assam-250", json=a_product(product_id="other"))
        assert response.json()["errors"][0]["loc"] == ["body", "product_id"]

    async def test_search_follows_the_new_name(self, admin):
        await add(admin, a_product())
        await admin.put("/products/tea-assam-250", json=a_product(name="Darjeeling"))
        assert await names(admin, "?q=assam") == []
        assert await names(admin, "?q=darj") == ["tea-assam-250"]


class TestPatch:
    @pytest.mark.parametrize("kind", ["application/json", "application/merge-patch+json"])
    async def test_changes_only_what_it_names(self, admin, kind):
        added = (await admin.post("/products", json=a_product())).json()
        patch = b'{"price": {"amount": 2700}, "attributes": {"organic": null, "origin": "Assam"}, "brand": null}'
        response = await admin.patch("/products/tea-assam-250", content=patch, headers={"Content-Type": kind})
        changed = response.json()
        assert changed["price"] == {"amount": 2700, "currency": "INR"}
        assert changed["attributes"] == {"weight_g": 250, "origin": "Assam"}
        assert changed["brand"] is None
        same = set(added) - {"price", "attributes", "brand", "version", "updated_at"}
        assert {name: changed[name] for name in same} == {name: added[name] for name in same}
        assert changes(changed) == 1

    @pytest.mark.parametrize("patch", [{}, {"stock": 40}, {"attributes": {"none": None}}])
    async def test_without_effect_nothing_changes(self, admin, patch):
        await add(admin, a_product())
        response = await admin.patch("/products/tea-assam-250", json=patch)
        assert (response.status_code, changes(response.json())) == (200, 0)

    @pytest.mark.parametrize(
        "patch",
        [
            {"name": None},
            {"price": None},
            {"stock": None},
            {"product_id": "other"},
            {"colour": "red"},
            {"version": 7},
        ],
    )
    async def test_what_cannot_be_is_422(self, admin, patch):
        await add(admin, a_product())
        assert (await admin.patch("/products/tea-assam-250", json=patch)).status_code == 422

    async def test_40_patches_of_different_attributes_at_once_all_take_effect(self, admin):
        await add(admin, a_product(attributes={}))
        patches = (admin.patch("/products/tea-assam-250", json={"attributes": {f"a{n}": n}}) for n in range(40))
        assert {response.status_code for response in await asyncio.gather(*patches)} == {200}
        product = (await admin.get("/products/tea-assam-250")).json()
        assert product["attributes"] == {f"a{n}": n for n in range(40)}
        assert changes(product) == 40

    async def test_the_price_stays_below_the_one_to_compare_with(self, admin):
        await add(admin, a_product(compare_at_price={"amount": 2600, "currency": "INR"}))
        dearer = await admin.patch("/products/tea-assam-250", json={"price": {"amount": 2600}})
        assert (dearer.status_code, dearer.json()["errors"][0]["loc"]) == (422, ["body", "compare_at_price"])
        changes = {"price": {"amount": 2600}, "compare_at_price": None, "sku": "T", "options": None}
        patched = (await admin.patch("/products/tea-assam-250", json=changes)).json()
        assert (patched["price"]["amount"], patched["compare_at_price"], patched["sku"]) == (2600, None, "T")
        assert (await admin.patch("/products/tea-assam-250", json={"sku": None})).json()["sku"] is None


class TestDelete:
    async def test_a_user_may_not(self, admin, user, anyone):
        await add(admin, a_product())
        assert (await anyone.delete("/products/tea-assam-250")).status_code == 401
        assert (await user.delete("/products/tea-assam-250")).status_code == 403

    async def test_is_204_and_the_second_time_404(self, admin):
        await add(admin, a_product())
        first = await admin.delete("/products/tea-assam-250")
        second = await admin.delete("/products/tea-assam-250")
        assert (first.status_code, first.content, second.status_code) == (204, b"", 404)
        assert "content-type" not in first.headers


class TestList:
    async def test_is_public_and_newest_first(self, admin, anyone):
        await add(admin, *(a_product(product_id=f"p{n}") for n in range(3)))
        assert await names(anyone) == ["p2", "p1", "p0"]

    async def test_filters_can_be_combined(self, admin, anyone):
        await add(
            admin,
            a_product(product_id="a", category="tea", tags=["green"], brand="X", stock=0),
            a_product(product_id="b", category="tea", tags=["black"], brand="X"),
            a_product(product_id="c", category="tea", tags=["green"], brand="Y"),
            a_product(product_id="d", category="cup", price={"amount": 100, "currency": "USD"}),
            a_product(product_id="e", category="tea", tags=["green"], brand="X", status="draft"),
        )
        assert await names(anyone, "?category=tea&tag=green&brand=X") == ["a"]
        assert await names(anyone, "?category=tea&in_stock=true&sort=name") == ["b", "c"]
        assert await names(anyone, "?in_stock=false") == ["a"]
        assert await names(anyone, "?max_price=2499") == ["d"]
        assert await names(anyone, "?min_price=100&max_price=100&currency=USD") == ["d"]
        assert await names(anyone, "?currency=INR&tag=green&sort=-name") == ["c", "a"]

    async def test_other_statuses_are_for_admins(self, admin, user, anyone):
        await add(admin, a_product(product_id="a"), a_product(product_id="b", status="draft"))
        assert await names(admin) == ["a"]
        assert await names(admin, "?status=draft") == ["b"]
        assert (await user.get("/products?status=draft")).status_code == 403
        assert (await anyone.get("/products?status=active")).status_code == 401

    @pytest.mark.parametrize("sort", ["newest", "price", "-price", "name", "-name"])
    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_pages_show_every_product_once_in_order(self, admin, anyone, sort, limit):
        prices = [3, 1, 2, 1, 3, 2, 1]
        await add(
            admin,
            *(
                a_product(product_id=f"p{n}", name=f"N{price}", price={"amount": price, "currency": "INR"})
                for n, price in enumerate(prices)
            ),
        )
        whole = await names(anyone, f"?sort={sort}")
        walked, cursor = [], None
        while True:
            query = f"?sort={sort}&limit={limit}" + (f"&cursor={cursor}" if cursor else "")
            page = (await anyone.get(f"/products{query}")).json()
            walked += [item["product_id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert walked == whole
        assert len(whole) == len(prices)

    async def test_a_cursor_of_another_query_is_refused(self, admin, anyone):
        await add(admin, *(a_product(product_id=f"p{n}") for n in range(3)))
        cursor = (await anyone.get("/products?limit=1")).json()["next_cursor"]
        assert (await anyone.get(f"/products?limit=2&cursor={cursor}")).status_code == 200
        for other in ("sort=price", "category=tea", "sort=-price&q=tea"):
            response = await anyone.get(f"/products?{other}&cursor={cursor}")
            assert (response.status_code, response.json()["errors"][0]["code"]) == (422, "invalid_cursor")

    async def test_total_only_when_asked_for(self, admin, anyone):
        await add(admin, *(a_product(product_id=f"p{n}") for n in range(3)))
        assert "total" not in (await anyone.get("/products?limit=1")).json()
        assert (await anyone.get("/products?limit=1&include_total=true")).json()["total"] == 3


class TestGroup:
    async def test_lists_its_variants_in_their_order(self, admin, anyone):
        for name, place in (("L", 2), ("M", None), ("S", None), ("XL", 2)):
            await add(admin, a_product(product_id=name, group="tee", position=place))
        await add(admin, a_product(product_id="other", group="Tee"))
        page = (await anyone.get("/products", params={"group": "tee", "limit": 3})).json()
        more = (
            await anyone.get("/products", params={"group": "tee", "limit": 3, "cursor": page["next_cursor"]})
        ).json()
        assert [item["product_id"] for item in page["items"] + more["items"]] == ["M", "S", "L", "XL"]

    async def test_a_sort_by_position_needs_one(self, anyone):
        response = await anyone.get("/products", params={"sort": "position"})
        assert (response.status_code, response.json()["errors"][0]["code"]) == (422, "position_without_group")


class TestSearch:
    @pytest.fixture
    async def catalogue(self, admin):
        plain: dict[str, object] = {"category": None, "tags": [], "brand": None}
        await add(
            admin,
            a_product(**{**plain, "product_id": "tagged", "name": "Mug", "tags": ["creme-brulee"]}),
            a_product(**{**plain, "product_id": "branded", "name": "Spoon", "brand": "Crème House"}),
            a_product(**{**plain, "product_id": "named", "name": "Crème brûlée kit"}),
            a_product(**{**plain, "product_id": "other", "name": "Teapot", "category": "kitchen-ware"}),
        )

    @pytest.mark.parametrize(
        ("q", "found"),
        [
            ("creme", ["named", "branded", "tagged"]),
            ("CRÈME", ["named", "branded", "tagged"]),
            ("brul", ["named", "tagged"]),
            ("creme kit", ["named"]),
            ("kit creme", ["named"]),
            ("house spo", ["branded"]),
            ("hou spoon", []),
            ("kitchen", ["other"]),
            ("kitchen-ware", ["other"]),
            ("alpha", []),
            ("...", []),
            ("(a+)+$", []),
        ],
    )
    async def test_finds_words_and_the_beginning_of_the_last(self, catalogue, anyone, q, found):
        response = await anyone.get("/products", params={"q": q})
        assert [item["product_id"] for item in response.json()["items"]] == found

    async def test_pages_by_relevance_show_everything_once(self, catalogue, anyone):
        walked, cursor = [], ""
        while cursor is not None:
            params = {"q": "creme", "limit": 1} | ({"cursor": cursor} if cursor else {})
            page = (await anyone.get("/products", params=params)).json()
            walked += [item["product_id"] for item in page["items"]]
            cursor = page["next_cursor"]
        assert walked == ["named", "branded", "tagged"]

    async def test_can_be_filtered_and_sorted(self, catalogue, anyone):
        assert await names(anyone, "?q=creme&sort=name") == ["named", "tagged", "branded"]
        assert await names(anyone, "?q=creme&tag=creme-brulee") == ["tagged"]


class TestFacets:
    async def test_counts_under_the_filters(self, admin, anyone):
        await add(
            admin,
            a_product(product_id="a", category="tea", tags=["x", "y"], price={"amount": 999, "currency": "USD"}),
            a_product(product_id="b", category="tea", tags=["x"], price={"amount": 1000, "currency": "USD"}),
            a_product(product_id="c", category="cup", tags=[], brand=None, price={"amount": 1000, "currency": "INR"}),
            a_product(product_id="d", status="draft"),
        )
        facets = (await anyone.get("/products/facets")).json()
        assert facets["total"] == 3
        assert facets["categories"] == [{"value": "tea", "count": 2}, {"value": "cup", "count": 1}]
        assert facets["tags"] == [{"value": "x", "count": 2}, {"value": "y", "count": 1}]
        assert facets["brands"] == [{"value": "Brew & Co", "count": 2}]
        assert facets["price_bands"] == [
            {"currency": "INR", "min": 1000, "max": 2000, "count": 1},
            {"currency": "USD", "min": 0, "max": 1000, "count": 1},
            {"currency": "USD", "min": 1000, "max": 2000, "count": 1},
        ]
        assert (await anyone.get("/products/facets?tag=y")).json()["total"] == 1

    async def test_of_nothing_are_empty(self, anyone):
        facets = (await anyone.get("/products/facets")).json()
        assert facets == {"total": 0, "categories": [], "brands": [], "tags": [], "options": [], "price_bands": []}

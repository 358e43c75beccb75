"""What holds everywhere, as one table after the other: errors, request ids, bodies, concurrency, methods."""

import asyncio
import json
from contextlib import ExitStack

import pymongo
import pytest
from pydantic import SecretStr

from conftest import client_of, running_app
from shop_api import embedded
from shop_api.kernel.errors import ShopError
from support.factories import PASSWORD, a_product, changes

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id"}


def check_problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) - {"errors", "current_version"} == MEMBERS
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"/problems/{code}"
    assert problem["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    return problem


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/nothing", 404, "not_found"),
            ("GET", "/products/", 404, "not_found"),
            ("GET", "/products/none", 404, "product_not_found"),
            ("GET", "/products/a%20b", 422, "invalid_request"),
            ("GET", "/products/%00", 422, "invalid_request"),
            ("GET", "/problems/none", 404, "not_found"),
            ("TRACE", "/products", 405, "method_not_allowed"),
            ("DELETE", "/products", 405, "method_not_allowed"),
            ("OPTIONS", "/products", 405, "method_not_allowed"),
            ("POST", "/docs", 405, "method_not_allowed"),
            ("GET", "/users", 401, "unauthenticated"),
            ("POST", "/products", 415, "unsupported_media_type"),
            ("GET", "/products?status=draft", 401, "unauthenticated"),
            ("GET", "/products?limit=0", 422, "invalid_request"),
            ("GET", "/products?limit=101", 422, "invalid_request"),
            ("GET", "/products?limit=abc", 422, "invalid_request"),
            ("GET", "/products?limit=1&limit=2", 422, "invalid_request"),
            ("GET", "/products?unknown=1", 422, "invalid_request"),
            ("GET", "/products?sort=stock", 422, "invalid_request"),
            ("GET", "/products?sort=relevance", 422, "invalid_request"),
            ("GET", "/products?min_price=2&max_price=1", 422, "invalid_request"),
            ("GET", "/products?cursor=abc", 422, "invalid_request"),
            ("GET", "/products?brand=%00", 422, "invalid_request"),
            ("GET", "/products?currency=XYZ", 422, "invalid_request"),
            ("GET", "/?q=1", 422, "invalid_request"),
            ("GET", "/health/live?q=1", 422, "invalid_request"),
        ],
    )
    async def test_every_error_is_a_problem(self, anyone, method, path, status, code):
        check_problem(await anyone.request(method, path), status, code)

    async def test_405_lists_all_methods_of_the_path(self, anyone):
        assert (await anyone.put("/products")).headers["allow"] == "GET, HEAD, POST"
        assert (await anyone.post("/products/a")).headers["allow"] == "DELETE, GET, HEAD, PATCH, PUT"
        assert (await anyone.get("/auth")).headers["allow"] == "POST"

    async def test_an_unexpected_error_is_a_500_that_tells_nothing(self, app, anyone):
        @app.get("/broken", include_in_schema=False)
        async def broken() -> None:
            raise RuntimeError("secret cause")

        try:
            response = await anyone.get("/broken")
        finally:
            app.router.routes.pop()
        check_problem(response, 500, "internal_error")
        assert "secret cause" not in response.text

    async def test_without_the_database_it_is_a_503_with_retry_after(self, engines, tmp_path):
        with ExitStack() as own:
            url = own.enter_context(embedded.mongo.running(tmp_path))
            settings = engines.model_copy(update={"mongo_url": SecretStr(url)})
            async with running_app(settings) as app, client_of(app) as client:
                own.close()
                response = await client.get("/products")
                check_problem(response, 503, "database_unavailable")
                assert response.headers["retry-after"] == "1"
                with pymongo.timeout(1):  # it is known by now what becomes of those who wait longer
                    check_problem(await client.get("/health/ready"), 503, "not_ready")
                assert (await client.get("/health/live")).status_code == 200
                with pymongo.timeout(1):
                    assert (await client.get("/")).json()["mongo"] == "down"

    async def test_every_type_resolves_to_a_page(self, anyone):
        for kind in ShopError.kinds():
            program = await anyone.get(f"/problems/{kind.code}")
            assert program.json()["status"] == kind.status
            person = await anyone.get(f"/problems/{kind.code}", headers={"Accept": "text/html"})
            assert person.headers["content-type"].startswith("text/html")
            assert kind.title in person.text

    async def test_codes_are_unique(self):
        codes = [kind.code for kind in ShopError.kinds()]
        assert len(codes) == len(set(codes))

    async def test_rejected_input_is_not_echoed(self, anyone):
        secret = "hunter2-canary"
        for body in (
            {"username": "ada", "password": [secret]},
            {"username": secret * 20, "password": secret * 20},
            {"username": "ada", "password": secret, "role": secret},
        ):
            response = await anyone.post("/register", json=body)
            check_problem(response, 422, "invalid_request")
            assert secret not in response.text

    async def test_422_names_each_fault(self, admin):
        response = await admin.post("/products", json={"name": "", "price": {"amount": 1.5}, "colour": "red"})
        faults = {(*fault["loc"],): fault["code"] for fault in response.json()["errors"]}
        assert faults == {
            ("body", "name"): "string_too_short",
            ("body", "price", "amount"): "int_type",
            ("body", "price", "currency"): "missing",
            ("body", "colour"): "extra_forbidden",
        }


class TestRequestId:
    async def test_a_sane_one_is_kept(self, anyone):
        response = await anyone.get("/health/live", headers={"X-Request-ID": "abc-123"})
        assert response.headers["x-request-id"] == "abc-123"

    @pytest.mark.parametrize("given", ["", "a b", "a" * 129, "a\tb", "<script>"])
    async def test_any_other_is_replaced(self, anyone, given):
        response = await anyone.get("/health/live", headers={"X-Request-ID": given})
        assert response.headers["x-request-id"] not in ("", given)

    async def test_every_answer_has_one(self, anyone):
        ids = {(await anyone.get(path)).headers["x-request-id"] for path in ("/", "/products", "/nothing", "/docs")}
        assert len(ids) == 4


def _product(field: str, value: str) -> bytes:
    """A product whose `field` is the JSON text `value`."""
    body = json.dumps(a_product(**{field: "@@"}))
    return body.replace('"@@"', value).encode()


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "status"),
        [
            pytest.param(b"", 400, id="empty"),
            pytest.param(b"{", 400, id="cut off"),
            pytest.param(b"{} {}", 400, id="two values"),
            pytest.param(b"[]", 422, id="no object"),
            pytest.param(b"null", 422, id="null"),
            pytest.param(b'"text"', 422, id="string"),
            pytest.param(_product("stock", "NaN"), 400, id="NaN"),
            pytest.param(_product("stock", "Infinity"), 400, id="Infinity"),
            pytest.param(_product("stock", "-Infinity"), 400, id="-Infinity"),
            pytest.param(_product("stock", "1e400"), 400, id="1e400"),
            pytest.param(_product("attributes", '{"a": 1e400}'), 400, id="nested 1e400"),
            pytest.param(_product("name", r'"\ud800"'), 400, id="lone surrogate"),
            pytest.param(_product("attributes", r'{"\udfff": 1}'), 400, id="lone surrogate as a name"),
            pytest.param(_product("name", r'"a\u0000b"'), 400, id="NUL"),
            pytest.param(_product("name", '"a\x00b"'), 400, id="raw NUL"),
            pytest.param(json.dumps(a_product()).encode("utf-16"), 400, id="UTF-16"),
            pytest.param(json.dumps(a_product()).encode("utf-32"), 400, id="UTF-32"),
            pytest.param(b"\xff" + json.dumps(a_product()).encode(), 400, id="not UTF-8"),
            pytest.param(b'{"name": "a", "name": "b"}', 400, id="duplicate key"),
            pytest.param(
                _product("price", '{"amount": 1, "amount": 2, "currency": "INR"}'), 400, id="duplicate inside"
            ),
            pytest.param(b"[" * 100_000, 400, id="100,000 levels"),
            pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, id="100,000 levels of objects"),
            pytest.param(_product("stock", "9223372036854775808"), 400, id="past 64 bit"),
            pytest.param(_product("stock", "9223372036854775807"), 422, id="largest of 64 bit"),
            pytest.param(_product("stock", "9" * 5000), 400, id="5,000 digits"),
            pytest.param(_product("stock", "true"), 422, id="true is no integer"),
            pytest.param(_product("stock", '"1"'), 422, id="text is no integer"),
            pytest.param(_product("stock", "1.5"), 422, id="1.5 is no integer"),
            pytest.param(_product("stock", "-1"), 422, id="negative stock"),
            pytest.param(_product("name", "1"), 422, id="number is no text"),
            pytest.param(_product("price", '"Rs2500"'), 422, id="price as text"),
            pytest.param(_product("price", '{"amount": 1000000000001, "currency": "INR"}'), 422, id="too dear"),
            pytest.param(_product("price", '{"amount": 1, "currency": "inr"}'), 422, id="currency in lower case"),
            pytest.param(_product("_id", '"a"'), 422, id="unknown field"),
            pytest.param(_product("attributes", '{"$gt": 1}'), 422, id="operator as a name"),
            pytest.param(_product("attributes", '{"a.b": 1}'), 422, id="dotted name"),
            pytest.param(_product("attributes", '{"__proto__": 1}'), 422, id="__proto__"),
            pytest.param(_product("images", '["http://a.example/b.png"]'), 422, id="plain http"),
            pytest.param(_product("tags", '["Not A Slug"]'), 422, id="no slug"),
            pytest.param(_product("product_id", '"facets"'), 422, id="reserved id"),
        ],
    )
    async def test_what_is_not_a_product_is_refused(self, admin, body, status):
        response = await admin.post("/products", content=body, headers={"Content-Type": "application/json"})
        check_problem(response, status, "malformed_body" if status == 400 else "invalid_request")

    @pytest.mark.parametrize(
        "kind", ["text/plain", "", "application/xml", "multipart/form-data", "application/jsonp"]
    )
    @pytest.mark.parametrize("path", ["/products", "/register", "/auth"])
    async def test_other_media_types_are_415(self, admin, path, kind):
        response = await admin.post(path, content=b"{}", headers={"Content-Type": kind})
        check_problem(response, 415, "unsupported_media_type")

    async def test_over_1_mib_is_413_by_its_length(self, admin):
        response = await admin.post("/products", content=b" " * (1024 * 1024 + 1))
        check_problem(response, 413, "body_too_large")

    async def test_over_1_mib_is_413_in_chunks_without_reading_on(self, admin):
        sent = 0

        async def endless():
            nonlocal sent
            while True:
                sent += 65536
                yield b" " * 65536

        headers = {"Content-Type": "application/json"}
        response = await admin.post("/products", content=endless(), headers=headers)
        check_problem(response, 413, "body_too_large")
        assert sent <= 20 * 65536

    async def test_1_mib_is_read(self, admin):
        body = json.dumps(a_product()).encode()
        padded = body + b" " * (1024 * 1024 - len(body))
        response = await admin.post("/products", content=padded, headers={"Content-Type": "application/json"})
        assert response.status_code == 201


class TestVersions:
    async def test_etag_follows_the_version(self, admin):
        added = await admin.post("/products", json=a_product())
        changed = await admin.put("/products/tea-assam-250", json=a_product(stock=1))
        for answer, times in ((added, 0), (changed, 1)):
            assert answer.headers["etag"] == f'"{answer.json()["version"]}"'
            assert changes(answer.json()) == times

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    async def test_a_stale_if_match_is_412(self, admin, method):
        stale = (await admin.post("/products", json=a_product())).headers["ETag"]
        now = (await admin.put("/products/tea-assam-250", json=a_product(stock=1))).json()
        body = {"PUT": a_product(stock=2), "PATCH": {"stock": 2}}.get(method)
        response = await admin.request(method, "/products/tea-assam-250", json=body, headers={"If-Match": stale})
        assert check_problem(response, 412, "version_conflict")["current_version"] == now["version"]
        assert (await admin.get("/products/tea-assam-250")).json()["stock"] == 1

    @pytest.mark.parametrize("given", ["{}", "*", '"7", {}'])
    async def test_a_fitting_if_match_passes(self, admin, given):
        tag = (await admin.post("/products", json=a_product())).headers["ETag"]
        headers = {"If-Match": given.format(tag)}
        response = await admin.patch("/products/tea-assam-250", json={"stock": 2}, headers=headers)
        assert response.status_code == 200

    @pytest.mark.parametrize(("given", "status"), [("W/{}", 412), ('"x"', 412), ("1", 422), ('"1', 422)])
    async def test_other_if_matches_do_not(self, admin, given, status):
        tag = (await admin.post("/products", json=a_product())).headers["ETag"]
        headers = {"If-Match": given.format(tag)}
        response = await admin.patch("/products/tea-assam-250", json={"stock": 2}, headers=headers)
        assert response.status_code == status

    @pytest.mark.parametrize("given", ["{}", "W/{}", "*", '"0", {}'])
    async def test_a_current_if_none_match_is_304(self, admin, anyone, given):
        tag = (await admin.post("/products", json=a_product())).headers["ETag"]
        response = await anyone.get("/products/tea-assam-250", headers={"If-None-Match": given.format(tag)})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == tag

    async def test_another_if_none_match_is_200(self, admin, anyone):
        await admin.post("/products", json=a_product())
        response = await anyone.get("/products/tea-assam-250", headers={"If-None-Match": '"2"'})
        assert response.status_code == 200

    async def test_of_50_editors_of_one_version_one_wins(self, admin):
        headers = {"If-Match": (await admin.post("/products", json=a_product())).headers["ETag"]}
        puts = (
            admin.put("/products/tea-assam-250", json=a_product(stock=100 + n), headers=headers) for n in range(50)
        )
        statuses = [response.status_code for response in await asyncio.gather(*puts)]
        assert sorted(statuses) == [200] + [412] * 49


class TestMethods:
    @pytest.mark.parametrize("path", ["/", "/products", "/health/live", "/health/ready", "/openapi.json", "/docs"])
    async def test_head_is_get_without_the_body(self, anyone, path):
        got, head = await anyone.get(path), await anyone.head(path)
        assert head.status_code == got.status_code == 200
        assert head.content == b""
        assert head.headers["content-length"] == str(len(got.content))

    async def test_head_of_what_is_not_there_is_404(self, anyone):
        response = await anyone.head("/products/none")
        assert (response.status_code, response.content) == (404, b"")

    async def test_no_origin_may_read_by_default(self, anyone):
        response = await anyone.get("/products", headers={"Origin": "https://shop.example"})
        assert "access-control-allow-origin" not in response.headers

    async def test_listed_origins_may(self, engines):
        settings = engines.model_copy(update={"cors_origins": ["https://shop.example"]})
        async with running_app(settings) as app, client_of(app) as client:
            for origin, allowed in (("https://shop.example", "https://shop.example"), ("https://x.example", None)):
                response = await client.get("/products", headers={"Origin": origin})
                assert response.headers.get("access-control-allow-origin") == allowed
            asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "PUT"}
            preflight = await client.options("/products/a", headers=asked)
            assert preflight.status_code == 200
            assert "PUT" in preflight.headers["access-control-allow-methods"]
            refused = await client.options("/products/a", headers={**asked, "Origin": "https://x.example"})
            check_problem(refused, 405, "method_not_allowed")


class TestIdempotencyKey:
    async def test_sent_again_the_answer_is_the_same_and_nothing_is_made(self, admin):
        body = a_product()
        del body["product_id"]
        headers = {"Idempotency-Key": "k1"}
        first = await admin.post("/products", json=body, headers=headers)
        again = await admin.post("/products", json=body, headers=headers)
        assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["location"] == first.headers["location"]
        assert "idempotent-replayed" not in first.headers
        assert len((await admin.get("/products")).json()["items"]) == 1

    async def test_of_20_at_once_one_runs(self, admin):
        body = a_product()
        del body["product_id"]
        posts = (admin.post("/products", json=body, headers={"Idempotency-Key": "k1"}) for _ in range(20))
        answers = await asyncio.gather(*posts)
        assert {answer.status_code for answer in answers} <= {201, 409}
        for answer in answers:
            if answer.status_code == 409:
                check_problem(answer, 409, "idempotency_in_progress")
                assert answer.headers["retry-after"] == "1"
        assert len((await admin.get("/products")).json()["items"]) == 1

    async def test_another_body_under_the_same_key_is_422(self, admin):
        await admin.post("/products", json=a_product(), headers={"Idempotency-Key": "k1"})
        response = await admin.post("/products", json=a_product(stock=1), headers={"Idempotency-Key": "k1"})
        check_problem(response, 422, "idempotency_key_reused")

    async def test_keys_belong_to_their_caller(self, admin, sign_in):
        other = await sign_in("other", role="admin")
        first = await admin.post("/products", json=a_product(), headers={"Idempotency-Key": "k1"})
        second = await other.post("/products", json=a_product(stock=1), headers={"Idempotency-Key": "k1"})
        assert (first.status_code, second.status_code) == (201, 409)
        check_problem(second, 409, "duplicate_product")

    async def test_a_refused_request_does_not_use_the_key_up(self, admin):
        headers = {"Idempotency-Key": "k1"}
        refused = await admin.post("/products", json=a_product(stock=-1), headers=headers)
        accepted = await admin.post("/products", json=a_product(), headers=headers)
        assert (refused.status_code, accepted.status_code) == (422, 201)

    async def test_a_registration_is_replayed_too(self, anyone):
        body = {"username": "ada", "password": PASSWORD}
        first, again = [
            await anyone.post("/register", json=body, headers={"Idempotency-Key": "k1"}) for _ in range(2)
        ]
        assert first.status_code == again.status_code == 201
        assert first.json() == again.json()

    @pytest.mark.parametrize("key", ["", "a b", "a" * 256, "ä".encode()])
    async def test_a_malformed_key_is_422(self, admin, key):
        response = await admin.post("/products", json=a_product(), headers={"Idempotency-Key": key})
        check_problem(response, 422, "invalid_request")

"""What the cache answers, and to whom, through the whole app."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from fastapi import FastAPI
from pymongo.errors import AutoReconnect
from structlog.testing import capture_logs

from cache.conftest import Commands, settled
from conftest import Client, client_of, running_app
from shop_api.cache import cache
from shop_api.cache.follower import Follower
from shop_api.cache.response import CachedResponse
from shop_api.container import Services
from shop_api.kernel import tasks
from shop_api.kernel.clock import utc_now
from shop_api.security.tokens import AccessTokens
from support.factories import PASSWORD, TEST_SECRET, a_product, changes, password_hash

pytestmark = pytest.mark.usefixtures("long_life")
REAL_LIFE = cache.LIFE
ITEM, LIST, FACETS = "/products/tea-assam-250", "/products?category=tea&limit=5", "/products/facets"
READS = [ITEM, LIST, FACETS]
MISS = "shop_api; fwd=uri-miss; stored"
FRESH = "shop_api; fwd=request; stored"
IN_MEMORY = "shop_api; hit; detail=memory"
IN_REDIS = "shop_api; hit; detail=redis"
COLLAPSED = "shop_api; fwd=uri-miss; collapsed"
BYPASS = "shop_api; fwd=bypass"
BAD_TOKENS = ["Bearer x", "Bearer ", "Bearer eyJhbGciOiJub25lIn0.e30.", "Basic YTpi", ""]


@pytest.fixture
async def tea(admin: Client, shop: Services) -> None:
    """There is a product at ITEM, and nothing is cached."""
    assert (await admin.post("/products", json=a_product())).status_code == 201
    await settled(shop)


def status_of(response) -> str | None:
    return response.headers.get("cache-status")


def without(response, *names: str) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name not in names}


async def in_redis(shop: Services) -> bytes:
    """All keys and values."""
    found = []
    async for name in shop.redis.scan_iter():
        found += [name, await shop.redis.dump(name) or b""]
        if await shop.redis.type(name) == b"string":
            found.append(await shop.redis.get(name) or b"")
    return b"\n".join(found)


def in_memory(shop: Services) -> bytes:
    """All that the tier in this process holds."""
    entries = shop.cache.memory._entries.items()
    return b"\n".join(
        repr((key, e.tags, e.response.status, e.response.headers, e.body)).encode() for key, e in entries
    )


@pytest.mark.usefixtures("tea")
@pytest.mark.parametrize("url", READS)
class TestHit:
    async def test_the_first_get_is_a_miss_and_the_second_a_hit(self, anyone, commands, url):
        first, second = await anyone.get(url), await anyone.get(url)
        assert [status_of(first), status_of(second)] == [MISS, IN_MEMORY]
        assert "age" not in first.headers
        assert second.headers["age"] == "0"
        assert len(commands.reads()) == 1
        assert first.status_code == second.status_code == 200
        assert first.content == second.content
        assert without(first, "x-request-id", "cache-status") == without(
            second, "x-request-id", "cache-status", "age"
        )

    async def test_it_has_an_etag_and_may_be_kept_by_anybody_who_asks_again(self, anyone, url):
        for response in (await anyone.get(url), await anyone.get(url)):
            assert response.headers["etag"].strip('"')
            assert response.headers["cache-control"] == "public, no-cache"

    async def test_what_memory_does_not_hold_comes_from_redis(self, anyone, shop, commands, url):
        misses = 2 if "?" in url else 1  # what a client has made up is stored at its second miss
        for _ in range(misses):
            first = await anyone.get(url)
            assert status_of(first) == MISS
            await asyncio.sleep(0.05)
            shop.cache.memory.clear()
        second, third = await anyone.get(url), await anyone.get(url)
        assert [status_of(second), status_of(third)] == [IN_REDIS, IN_MEMORY]
        assert len(commands.reads()) == misses
        assert first.content == second.content == third.content
        assert first.headers["etag"] == second.headers["etag"] == third.headers["etag"]

    async def test_each_has_a_request_id_of_its_own_and_the_security_headers(self, anyone, url):
        given = [await anyone.get(url, headers={"X-Request-ID": f"mine-{n}"}) for n in range(3)]
        assert [response.headers.get_list("x-request-id") for response in given] == [
            ["mine-0"],
            ["mine-1"],
            ["mine-2"],
        ]
        made = [(await anyone.get(url)).headers["x-request-id"] for _ in range(3)]
        assert len(set(made)) == 3
        assert all(response.headers.get_list("x-content-type-options") == ["nosniff"] for response in given)

    async def test_it_serves_those_with_a_token_too(self, anyone, user, admin, url):
        await anyone.get(url)
        assert [status_of(await client.get(url)) for client in (user, admin)] == [IN_MEMORY, IN_MEMORY]

    @pytest.mark.parametrize("token", BAD_TOKENS)
    async def test_a_bad_token_matters_as_little_on_a_hit_as_on_a_miss(self, anyone, url, token):
        answers = [await anyone.get(url, headers={"Authorization": token}) for _ in range(2)]
        assert [(answer.status_code, status_of(answer)) for answer in answers] == [(200, MISS), (200, IN_MEMORY)]

    async def test_head_is_answered_from_the_entry_of_get(self, anyone, commands, url):
        first = await anyone.get(url)
        head, hit = await anyone.head(url), await anyone.get(url)
        assert (head.status_code, head.content, status_of(head)) == (200, b"", IN_MEMORY)
        assert int(head.headers["content-length"]) == len(first.content)
        assert without(head, "x-request-id") == without(hit, "x-request-id")
        assert len(commands.reads()) == 1

    async def test_head_is_sent_without_a_body(self, app, url):
        """Clients and servers would hide one."""
        path, _, query = url.partition("?")
        scope = {"type": "http", "http_version": "1.1", "method": "HEAD", "path": path, "raw_path": path.encode()}
        sent = []

        async def send(message):
            sent.append(message.get("body", b""))

        for _ in range(2):
            await app({**scope, "query_string": query.encode(), "headers": []}, None, send)
        assert b"".join(sent) == b""
        assert len(sent) == 4

    async def test_get_is_answered_from_what_head_has_filled(self, anyone, commands, url):
        head, hit = await anyone.head(url), await anyone.get(url)
        assert (head.content, status_of(head), status_of(hit)) == (b"", MISS, IN_MEMORY)
        assert len(hit.content) == int(head.headers["content-length"]) > 0

    async def test_who_holds_it_already_gets_304_from_memory(self, anyone, commands, url):
        held = (await anyone.get(url)).headers["etag"]
        for known in (held, f"W/{held}", f'"other", {held}', "*"):
            answer = await anyone.get(url, headers={"If-None-Match": known})
            assert (answer.status_code, answer.content, status_of(answer)) == (304, b"", IN_MEMORY)
            assert not {"content-type", "content-length"} & answer.headers.keys()
            assert answer.headers["etag"] == held
            assert answer.headers["cache-control"] == "public, no-cache"
            assert answer.headers["age"] == "0"
        assert (await anyone.head(url, headers={"If-None-Match": held})).status_code == 304
        assert len(commands.reads()) == 1

    async def test_who_holds_something_else_gets_it_all(self, anyone, url):
        first = await anyone.get(url)
        second = await anyone.get(url, headers={"If-None-Match": '"other", W/"another"'})
        assert (second.status_code, second.content, status_of(second)) == (200, first.content, IN_MEMORY)

    async def test_a_304_on_a_miss_leaves_the_whole_answer_for_others(self, anyone, shop, url):
        held = (await anyone.get(url)).headers["etag"]
        await shop.cache.invalidate(["product:tea-assam-250", "products"])
        first = await anyone.get(url, headers={"If-None-Match": held})
        second = await anyone.get(url)
        assert (first.status_code, first.content, status_of(first)) == (304, b"", MISS)
        assert (second.status_code, status_of(second)) == (200, IN_MEMORY)
        assert second.json()


@pytest.mark.usefixtures("tea")
class TestKey:
    async def test_the_order_of_parameters_does_not_matter(self, anyone):
        await anyone.get("/products?category=tea&limit=5&sort=name")
        assert status_of(await anyone.get("/products?sort=name&limit=5&category=tea")) == IN_MEMORY

    async def test_what_they_say_does(self, anyone):
        await anyone.get("/products?limit=5")
        assert [status_of(await anyone.get(f"/products{q}")) for q in ("", "?limit=6", "?sort=name")] == [MISS] * 3

    @pytest.mark.parametrize(
        ("url", "tags"), [(ITEM, "product:tea-assam-250"), (LIST, "products"), (FACETS, "products")]
    )
    async def test_it_names_its_tags_as_cdns_understand_them(self, anyone, url, tags):
        assert [(await anyone.get(url)).headers["surrogate-key"] for _ in range(2)] == [tags, tags]

    async def test_etags_of_lists_change_with_what_they_say(self, anyone, admin):
        before = [(await anyone.get(url)).headers["etag"] for url in (LIST, FACETS)]
        await admin.post("/products", json=a_product(product_id="other"))
        after = [(await anyone.get(url)).headers["etag"] for url in (LIST, FACETS)]
        assert len({*before, *after}) == 4


async def test_an_answer_stays_in_memory_for_a_second_and_then_comes_from_redis(anyone, tea, commands, monkeypatch):
    assert REAL_LIFE == 1.0
    monkeypatch.setattr(cache, "LIFE", REAL_LIFE)
    await anyone.get(ITEM)
    await asyncio.sleep(1.02)
    answer = await anyone.get(ITEM)
    assert status_of(answer) == IN_REDIS
    assert int(answer.headers["age"]) >= 1
    assert len(commands.reads()) == 1


@pytest.mark.usefixtures("tea")
class TestFresh:
    @pytest.mark.parametrize("control", ["no-cache", "max-age=0, no-cache", "No-Cache", "max-age=0,NO-CACHE"])
    @pytest.mark.parametrize("url", READS)
    async def test_who_is_signed_in_can_ask_the_database(self, anyone, user, shop, commands, url, control):
        await anyone.get(url)
        fills = shop.cache.counters.fills
        answer = await user.get(url, headers={"Cache-Control": control})
        assert (answer.status_code, status_of(answer), "age" in answer.headers) == (200, FRESH, False)
        assert (len(commands.reads()), shop.cache.counters.fills) == (2, fills + 1)
        assert status_of(await anyone.get(url)) == IN_MEMORY

    async def test_what_the_database_said_replaces_what_was_kept(self, anyone, user, shop, monkeypatch):
        await anyone.get(ITEM)
        monkeypatch.setattr(Follower, "_note", deaf)
        await shop.database["products"].update_one({"_id": "tea-assam-250"}, {"$set": {"stock": 7}})
        assert (await anyone.get(ITEM)).json()["stock"] == 40
        assert (await user.get(ITEM, headers={"Cache-Control": "no-cache"})).json()["stock"] == 7
        assert (await anyone.get(ITEM)).json()["stock"] == 7
        shop.cache.memory.clear()
        again = await anyone.get(ITEM)
        assert (again.json()["stock"], status_of(again)) == (7, IN_REDIS)

    async def test_it_may_be_in_any_of_several_lines(self, anyone, user):
        await anyone.get(ITEM)
        lines = [*user.headers.items(), ("Cache-Control", "no-cache"), ("Cache-Control", "max-age=0")]
        assert status_of(await anyone.get(ITEM, headers=lines)) == FRESH

    async def test_the_scheme_of_the_token_may_be_in_any_case(self, anyone, user):
        await anyone.get(ITEM)
        token = user.headers["authorization"].replace("Bearer", "bearer")
        assert (await anyone.get("/users/me", headers={"Authorization": token})).status_code == 200
        answer = await anyone.get(ITEM, headers={"Authorization": token, "Cache-Control": "no-cache"})
        assert status_of(answer) == FRESH

    async def test_without_that_a_token_does_not(self, anyone, user):
        await anyone.get(ITEM)
        for control in ("max-age=0", "no-store", ""):
            assert status_of(await user.get(ITEM, headers={"Cache-Control": control})) == IN_MEMORY

    @pytest.mark.parametrize("token", [None, *BAD_TOKENS])
    async def test_who_is_not_signed_in_cannot(self, anyone, shop, commands, token):
        await anyone.get(ITEM)
        headers = {"Cache-Control": "no-cache", **({"Authorization": token} if token is not None else {})}
        fills = shop.cache.counters.fills
        answer = await anyone.get(ITEM, headers=headers)
        assert (answer.status_code, status_of(answer)) == (200, IN_MEMORY)
        assert (len(commands.reads()), shop.cache.counters.fills) == (1, fills)

    async def test_neither_can_whose_token_has_expired(self, app, anyone, user, commands):
        await anyone.get(ITEM)
        long_ago = AccessTokens(TEST_SECRET.encode(), lambda: utc_now() - timedelta(hours=1))
        async with client_of(app, Authorization=f"Bearer {long_ago.issue('anybody', 'test')}") as late:
            assert status_of(await late.get(ITEM, headers={"Cache-Control": "no-cache"})) == IN_MEMORY
        assert len(commands.reads()) == 1


class TestDraft:
    @pytest.fixture(autouse=True)
    async def _draft(self, admin, shop):
        await admin.post("/products", json=a_product(status="draft", name="Not announced yet"))
        await settled(shop)

    async def test_an_admin_sees_it_and_nobody_else_ever_does(self, anyone, user, admin, shop):
        for _ in range(2):  # as a miss, and as a hit
            seen = await admin.get(ITEM)
            assert (seen.status_code, seen.json()["name"]) == (200, "Not announced yet")
            assert seen.headers.get_list("cache-control") == ["private, no-cache"]
            assert status_of(seen) == BYPASS
            assert "surrogate-key" not in seen.headers
            for client in (anyone, user):
                refused = await client.get(ITEM)
                assert (refused.status_code, refused.json()["code"]) == (404, "product_not_found")
                assert "Not announced yet" not in refused.text
        assert b"Not announced" not in in_memory(shop) + await in_redis(shop)

    async def test_an_admins_no_cache_does_not_show_it_to_others(self, anyone, admin):
        assert (await admin.get(ITEM, headers={"Cache-Control": "no-cache"})).status_code == 200
        assert (await anyone.get(ITEM)).status_code == 404

    async def test_an_admin_who_asks_while_somebody_else_waits_gets_it_alone(self, anyone, admin):
        answers = await asyncio.gather(*(client.get(ITEM) for client in (anyone, admin, anyone, admin)))
        assert [answer.status_code for answer in answers] == [404, 200, 404, 200]

    @pytest.mark.parametrize("url", ["/products?status=draft", "/products/facets?status=draft"])
    async def test_what_only_admins_may_ask_for_is_never_stored(self, anyone, user, admin, shop, url):
        for _ in range(2):
            seen = await admin.get(url)
            assert (seen.status_code, status_of(seen)) == (200, BYPASS)
            assert seen.headers.get_list("cache-control") == ["private, no-cache"]
            assert [(await client.get(url)).status_code for client in (anyone, user)] == [401, 403]
        assert len(shop.cache.memory) == 0
        assert b"Not announced" not in await in_redis(shop)


class TestNotFound:
    async def test_a_404_from_the_cache_is_told_to_each_under_the_id_of_their_own_request(
        self, anyone, shop, commands
    ):
        await settled(shop)
        await anyone.get(ITEM)  # Redis stores what is asked for a second time
        shop.cache.memory.clear()
        answers = [await anyone.get(ITEM, headers={"X-Request-ID": f"request-{n}"}) for n in range(3)]
        shop.cache.memory.clear()
        answers.append(await anyone.get(ITEM, headers={"X-Request-ID": "request-3"}))
        assert [status_of(answer) for answer in answers] == [MISS, IN_MEMORY, IN_MEMORY, IN_REDIS]
        for n, answer in enumerate(answers):
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
            assert answer.json()["request_id"] == answer.headers["x-request-id"] == f"request-{n}"
            assert answer.json()["instance"] == ITEM
            assert int(answer.headers["content-length"]) == len(answer.content)
        assert len(commands.reads()) == 2

    @pytest.mark.parametrize(
        "hostile",
        [
            '","status":200,"x":"',
            "\\",
            "</script><script>",
            "a b",
            "é",
            "x" * 10_000,
            '"}}',
            "%0d%0aSet-Cookie:a=b",
            "",
        ],
    )
    async def test_a_hostile_id_does_not_poison_it(self, anyone, hostile):
        first = await anyone.get(ITEM, headers={"X-Request-ID": hostile.encode("latin-1")})
        second = await anyone.get(ITEM)
        third = await anyone.get(ITEM, headers={"X-Request-ID": hostile.encode("latin-1")})
        assert [status_of(answer) for answer in (first, second, third)] == [MISS, IN_MEMORY, IN_MEMORY]
        for answer in (first, second, third):
            assert (answer.status_code, answer.json()["code"]) == (404, "product_not_found")
            assert answer.json()["request_id"] == answer.headers["x-request-id"] != hostile
            assert "set-cookie" not in answer.headers
        if hostile:
            assert hostile not in first.text + second.text + third.text

    async def test_who_may_see_more_is_asked_for_their_token(self, anyone, admin):
        await anyone.get(ITEM)
        assert (await admin.get(ITEM)).status_code == 404
        assert (await anyone.get(ITEM, headers={"Authorization": "Bearer x"})).status_code == 401


class TestNotStored:
    @pytest.mark.parametrize(
        "url",
        [
            "/products?colour=red",
            "/products?limit=1&limit=2",
            "/products?limit=0",
            "/products/a%20b",
            "/products/a%00",
        ],
    )
    async def test_a_request_that_is_refused(self, anyone, shop, url):
        await settled(shop)
        answers = [await anyone.get(url) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [422, 422]
        assert len(shop.cache.memory) == 0
        assert b"answer:" not in await in_redis(shop)
        assert "hit" not in str(status_of(answers[1]))

    async def test_unknown_parameters_cannot_fill_it(self, anyone, shop):
        for n in range(100):
            assert (await anyone.get(f"/products?utm_source={n}")).status_code == 422
        assert (len(shop.cache.memory), shop.cache.memory.bytes) == (0, 0)

    async def test_an_error(self, anyone, shop, tea, monkeypatch):
        async def broken(product_id):
            raise RuntimeError("on purpose")

        monkeypatch.setattr(shop.products._products, "view", broken)
        with capture_logs():
            answers = [await anyone.get(ITEM) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [500, 500]
        assert len(shop.cache.memory) == 0
        monkeypatch.undo()
        answer = await anyone.get(ITEM)
        assert (answer.status_code, status_of(answer)) == (200, MISS)

    async def test_anything_but_get_and_head(self, admin, shop, tea):
        for method in ("OPTIONS", "POST", "PUT", "PATCH", "DELETE"):
            answer = await admin.request(method, ITEM)
            assert status_of(answer) is None
        assert len(shop.cache.memory) == 0


async def deaf(follower: Follower, change, asked: float) -> None:
    """A follower that overlooks every change."""
    follower._apply(asked)


@pytest.mark.usefixtures("tea")
class TestWrite:
    """Through this instance, whose follower sees nothing here, so that it has to know by itself."""

    @pytest.fixture(autouse=True)
    def _deaf(self, tea, monkeypatch):
        monkeypatch.setattr(Follower, "_note", deaf)

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/products", a_product(product_id="other", tags=["new"])),
            ("PUT", ITEM, a_product(name="Other", brand="Other", tags=["new"])),
            ("PATCH", ITEM, {"name": "Other", "brand": "Other"}),
            ("DELETE", ITEM, None),
        ],
    )
    @pytest.mark.parametrize("tier", ["memory", "redis"])
    async def test_the_very_next_read_sees_it(self, anyone, admin, shop, method, path, body, tier):
        reads = [*READS, "/products/other"]
        before = {url: (await anyone.get(url)).text for url in reads}
        changed = [url for url in reads if url not in (ITEM, "/products/other")]
        changed.append("/products/other" if method == "POST" else ITEM)
        media = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
        assert (await admin.request(method, path, json=body, headers=media)).is_success
        if tier == "redis":
            shop.cache.memory.clear()
        for url in changed:
            after = await anyone.get(url)
            assert (status_of(after), after.text != before[url]) == (MISS, True)

    async def test_what_it_does_not_concern_stays(self, anyone, admin):
        await anyone.get(ITEM)
        await admin.post("/products", json=a_product(product_id="other"))
        assert status_of(await anyone.get(ITEM)) == IN_MEMORY

    async def test_one_that_changes_nothing_invalidates_nothing(self, anyone, admin, shop):
        for url in READS:
            await anyone.get(url)
        before = shop.cache.counters.invalidations
        assert changes((await admin.put(ITEM, json=a_product())).json()) == 0
        assert shop.cache.counters.invalidations == before
        assert [status_of(await anyone.get(url)) for url in READS] == [IN_MEMORY] * 3

    async def test_one_that_is_refused_invalidates_nothing(self, anyone, admin, user, shop):
        before = shop.cache.counters.invalidations
        assert (await user.put(ITEM, json=a_product(name="Other"))).status_code == 403
        assert (await admin.put(ITEM, json=a_product(name=""))).status_code == 422
        stale = await admin.put(ITEM, json=a_product(name="Other"), headers={"If-Match": '"9"'})
        assert stale.status_code == 412
        assert shop.cache.counters.invalidations == before

    async def test_a_read_that_began_before_it_is_not_kept(self, anyone, admin, shop, monkeypatch):
        read, (reached, go_on) = shop.products._products.view, (asyncio.Event(), asyncio.Event())

        async def slow(product_id):
            found = await read(product_id)
            reached.set()
            await go_on.wait()
            return found

        monkeypatch.setattr(shop.products._products, "view", slow)
        early = asyncio.create_task(anyone.get(ITEM))
        await reached.wait()
        monkeypatch.setattr(shop.products._products, "view", read)
        assert (await admin.put(ITEM, json=a_product(stock=7))).status_code == 200
        late = await anyone.get(ITEM)  # does not wait for what was read before the change
        go_on.set()
        assert ((await early).json()["stock"], late.json()["stock"]) == (40, 7)
        assert (await anyone.get(ITEM)).json()["stock"] == 7
        shop.cache.memory.clear()
        assert (await anyone.get(ITEM)).json()["stock"] == 7


class TestPrivacy:
    async def test_nothing_of_who_filled_it_is_stored(self, user, anyone, shop, tea):
        own = {"X-Request-ID": "of-the-filler", "Cookie": "of=filler", "Origin": "http://of-the-filler"}
        for url in (*READS, "/products/none"):
            await user.get(url, headers=own)
            await anyone.get(url, headers=own)
        stored = shop.cache.memory._entries.values()
        kept = {name for entry in stored for name, _ in entry.response.headers}
        assert kept == {b"content-type", b"content-length", b"etag", b"cache-control", b"surrogate-key"}
        both = in_memory(shop) + await in_redis(shop)
        assert b"Assam" in both
        assert user.headers["authorization"].encode() not in both
        for url in (*READS, "/products/none"):
            hit = await anyone.get(url)
            assert "of-the-filler" not in hit.text + str(hit.headers)

    async def test_users_are_never_cached(self, admin, user, anyone, shop, tea):
        email = "ada.of.the.test@mail.example"
        media = {"Content-Type": "application/merge-patch+json"}
        patched = await user.patch("/users/me", json={"email": email, "current_password": PASSWORD}, headers=media)
        assert patched.status_code == 200, patched.text
        for _ in range(2):
            for client, url in ((user, "/users/me"), (admin, "/users"), (admin, "/users/ada"), (user, ITEM)):
                answer = await client.get(url)
                assert answer.status_code == 200
                assert (status_of(answer) is None) == (url != ITEM)
                assert (email in answer.text) == (url != ITEM)
        both = in_memory(shop) + await in_redis(shop)
        assert b"Assam" in both
        for secret in (email, '"ada"', password_hash()):
            assert secret.encode() not in both


@pytest.fixture
async def running(app, cache_settings):
    """`await running(cache="off")`: another instance with other settings, on the same engines."""
    async with AsyncExitStack() as stack:

        async def start(**changes) -> Client:
            settings = cache_settings.model_copy(update=changes)
            other = await stack.enter_async_context(running_app(settings))
            if settings.cache == "on":
                await settled(other.state.services)
            return await stack.enter_async_context(client_of(other))

        yield start


class TestOff:
    async def test_everything_works_without_it(self, running, admin, tea):
        client = await running(cache="off")
        for url in READS:
            answers = [await client.get(url) for _ in range(2)]
            assert [(answer.status_code, status_of(answer)) for answer in answers] == [(200, None)] * 2
            assert (await client.head(url)).status_code == 200
        held = (await client.get(ITEM)).headers["etag"]
        assert (await client.get(ITEM, headers={"If-None-Match": held})).status_code == 304
        assert (await client.get("/products/none")).status_code == 404
        client.headers["Authorization"] = admin.headers["authorization"]
        assert (await client.put(ITEM, json=a_product(stock=7))).status_code == 200
        assert (await client.get(ITEM)).json()["stock"] == 7
        assert (await client.delete(ITEM)).status_code == 204
        assert (await client.get(ITEM)).status_code == 404


class TestCors:
    ALLOWED, OTHER = "https://shop.example", "https://evil.example"

    @pytest.mark.parametrize("order", [(ALLOWED, OTHER, None), (OTHER, ALLOWED, None), (None, OTHER, ALLOWED)])
    async def test_a_hit_allows_those_origins_that_are_allowed(self, running, tea, order):
        client = await running(cors_origins=[self.ALLOWED])
        for _ in range(2):
            for origin in order:
                answer = await client.get(ITEM, headers={"Origin": origin} if origin else {})
                allowed = answer.headers.get("access-control-allow-origin")
                assert (answer.status_code, allowed) == (200, origin if origin == self.ALLOWED else None)
        assert status_of(answer) == IN_MEMORY

    async def test_a_page_may_read_how_it_was_answered(self, running, tea):
        client = await running(cors_origins=[self.ALLOWED])
        exposed = [
            (await client.get(ITEM, headers={"Origin": self.ALLOWED})).headers["access-control-expose-headers"]
            for _ in range(2)
        ]
        assert all({"Age", "Cache-Status", "ETag"} <= set(names.split(", ")) for names in exposed)

    async def test_304_and_404_are_allowed_alike(self, running, tea):
        client = await running(cors_origins=[self.ALLOWED])
        client.headers["Origin"] = self.ALLOWED
        held = (await client.get(ITEM)).headers["etag"]
        answers = [await client.get(ITEM, headers={"If-None-Match": held})]
        answers += [await client.get("/products/none") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [304, 404, 404]
        assert [answer.headers["access-control-allow-origin"] for answer in answers] == [self.ALLOWED] * 3


@pytest.mark.usefixtures("tea")
class TestTogether:
    """Many ask for what is not there yet."""

    @pytest.fixture
    async def held(self, shop: Services, monkeypatch) -> AsyncIterator["Held"]:
        held = Held(shop)
        monkeypatch.setattr(shop.products._products, "view", held)
        yield held
        held.go_on.set()

    @pytest.mark.parametrize("url", READS)
    async def test_of_500_at_once_one_reads_the_database(self, app: FastAPI, commands: Commands, url):
        async with client_of(app) as client:
            answers = await asyncio.gather(*(client.get(url) for _ in range(500)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert len({answer.headers["x-request-id"] for answer in answers}) == 500
        assert len(commands.reads()) == 1
        assert {status_of(answer) for answer in answers} <= {MISS, COLLAPSED, IN_MEMORY}

    async def test_who_goes_away_takes_nothing_from_those_who_wait(self, anyone, held):
        first = asyncio.create_task(anyone.get(ITEM))
        await held.reached.wait()
        others = [asyncio.create_task(anyone.get(ITEM)) for _ in range(3)]
        await asyncio.sleep(0.01)
        first.cancel()
        others.pop().cancel()
        await asyncio.sleep(0.01)
        held.go_on.set()
        answers = await asyncio.gather(*others)
        assert [(answer.status_code, status_of(answer)) for answer in answers] == [(200, COLLAPSED)] * 2
        assert held.times == 1
        with pytest.raises(asyncio.CancelledError):
            await first

    async def test_when_all_go_away_it_is_there_for_the_next(self, anyone, held):
        first = asyncio.create_task(anyone.get(ITEM))
        await held.reached.wait()
        await tasks.end([first])
        held.go_on.set()
        assert (await anyone.get(ITEM)).status_code == 200
        assert held.times == 1

    @pytest.mark.parametrize(
        ("error", "status", "code", "times"),
        [
            (RuntimeError("on purpose"), 500, "internal_error", 5),
            (AutoReconnect("on purpose"), 503, "database_unavailable", 1),
        ],
    )
    async def test_an_error_is_found_out_by_each_unless_it_is_an_outage_and_then_forgotten(
        self, anyone, held, error, status, code, times
    ):
        held.error = error
        asked = [asyncio.create_task(anyone.get(ITEM, headers={"X-Request-ID": f"request-{n}"})) for n in range(5)]
        await held.reached.wait()
        await asyncio.sleep(0.02)
        held.go_on.set()
        with capture_logs():
            answers = await asyncio.gather(*asked)
        for n, answer in enumerate(answers):
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert answer.json()["request_id"] == answer.headers["x-request-id"] == f"request-{n}"
        assert held.times == times
        held.error = None
        answer = await anyone.get(ITEM)
        assert (answer.status_code, status_of(answer)) == (200, MISS)


class Held:
    """In place of ProductRepository.view: waits to be let go, and raises `error` if there is one."""

    def __init__(self, shop: Services) -> None:
        self._read = shop.products._products.view
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        self.error: Exception | None = None
        self.times = 0

    async def __call__(self, product_id):
        self.times += 1
        self.reached.set()
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return await self._read(product_id)


@pytest.mark.usefixtures("tea")
class TestStrangers:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Length": "2000000"},
            {"Transfer-Encoding": "chunked"},
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"Idempotency-Key": "a" * 300},
            {"If-Match": "nonsense"},
            {"Accept": "text/html"},
            {"Expect": "100-continue"},
            {"X-Forwarded-For": "nonsense"},
        ],
        ids=lambda headers: next(iter(headers)),
    )
    @pytest.mark.parametrize("url", [*READS, "/products/none"])
    async def test_a_header_changes_nobody_s_answer(self, anyone, shop, url, headers):
        plain = await anyone.get(url)
        shop.cache.memory.clear()
        await shop.redis.flushdb()
        answers = await asyncio.gather(anyone.get(url, headers=headers), *(anyone.get(url) for _ in range(5)))
        assert [answer.status_code for answer in answers] == [plain.status_code] * 6
        if plain.status_code == 200:
            assert [answer.content for answer in answers] == [plain.content] * 6

    @pytest.mark.parametrize("status", [413, 422, 500, 503])
    async def test_what_failed_for_one_is_not_told_to_all(self, shop, status):
        made = []

        async def load() -> CachedResponse:
            made.append(1)
            await asyncio.sleep(0.01)
            return CachedResponse(status if len(made) == 1 else 200, [(b"content-length", b"0")], b"")

        key = ("/products", b"q=shared")
        answers = await asyncio.gather(*(shop.cache.fetch(key, ("products",), None, load) for _ in range(4)))
        assert sorted(answer.response.status for answer in answers) == [200, 200, 200, status]

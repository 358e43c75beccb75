"""Cursors, and pages by keyset over real collections."""

import base64
import itertools
import string
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_api.kernel.errors import InvalidRequest
from shop_api.kernel.pagination import Cursors
from shop_api.storage.mongo import keyset

CURSORS = Cursors(b"a secret")
KEY = [{"ms": 1_700_000_000_123}, "tea-assam-250"]


def refuses(cursor: str, query: str = "q", cursors: Cursors = CURSORS) -> bool:
    try:
        cursors.decode(query, cursor)
    except InvalidRequest as error:
        return error.errors[0][:2] == (("query", "cursor"), "invalid_cursor")
    return False


class TestCursors:
    @settings(deadline=None)
    @given(st.text(), st.lists(st.none() | st.integers() | st.text() | st.dictionaries(st.text(), st.integers())))
    def test_a_cursor_gives_back_its_key(self, query, key):
        try:
            cursor = CURSORS.encode(query, key)
        except UnicodeEncodeError:  # of a query that cannot come in
            return
        assert CURSORS.decode(query, cursor) == key

    def test_a_cursor_needs_no_escaping_in_a_url(self):
        for n in range(200):
            assert set(CURSORS.encode("q", [n, "ü😀?>"])) <= set(string.ascii_letters + string.digits + "-_")

    def test_a_cursor_of_another_query_is_refused(self):
        cursor = CURSORS.encode('{"sort":"price"}', KEY)
        assert refuses(cursor, '{"sort":"-price"}')
        assert refuses(cursor, "")

    def test_query_and_key_cannot_be_shifted_into_each_other(self):
        signature = base64.urlsafe_b64decode(CURSORS.encode("ab", []) + "==")[:16]
        assert refuses(base64.urlsafe_b64encode(signature + b"b[]").decode().rstrip("="), "a")

    def test_a_cursor_of_another_shop_is_refused(self):
        assert refuses(Cursors(b"another secret").encode("q", KEY))

    def test_a_cursor_with_any_character_changed_is_refused(self):
        for key in ([], [1], [1, 2], KEY):
            cursor = CURSORS.encode("q", key)
            for at, old in enumerate(cursor):
                for new in {*string.printable, "é", "\0"} - {old}:
                    assert refuses(cursor[:at] + new + cursor[at + 1 :]), (cursor, at, new)

    def test_a_cursor_cut_short_or_made_longer_is_refused(self):
        cursor = CURSORS.encode("q", KEY)
        assert all(refuses(cursor[:length]) for length in range(len(cursor)))
        for extra in ("=", "==", "===", "A", "AA", "AAA", "AAAA", " ", "\n", "é", "."):
            assert refuses(cursor + extra)
            assert refuses(extra + cursor)

    @pytest.mark.parametrize(
        "garbage",
        ["", "a", "====", "null", "[]", "-1", "é", "😀", "\0", "\ud800", " ", "A" * 2048, "%00", "../..", "[" * 2048],
    )
    def test_garbage_is_refused(self, garbage):
        assert refuses(garbage)

    @settings(deadline=None)
    @given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
    def test_any_text_is_refused(self, text):
        assert refuses(text)


DAY = datetime(2030, 1, 1, tzinfo=UTC)
# Few different values for many documents, so that most of them tie.
VALUES: dict[str, list[Any]] = {
    "text": ["", "a", "ab", "b", "ä", "z", "😀"],
    "number": [-1, 0, 1, 2**40],
    "nested.number": [0, 7],
    "time": [DAY, DAY + timedelta(milliseconds=1), DAY + timedelta(milliseconds=999), DAY + timedelta(days=20_000)],
    "same": [1],
}


EVEN = {"even": True}
SELECTIONS = {
    "all": keyset.Selection({}),
    "walked": keyset.Selection(EVEN),
    "rest": keyset.Selection({}, [{"even": {"$in": [True]}}, {"same": {"$gt": 0}}]),
    "unordered": keyset.Selection(EVEN, ordered=False),
}


class TestKeyset:
    @pytest.fixture
    async def documents(self, database) -> list[dict]:
        documents = [
            {
                "_id": f"{n * 7919 % 60:03}",
                "even": n % 2 == 0,
                **{f: values[n % len(values)] for f, values in VALUES.items() if "." not in f},
                "nested": {"number": VALUES["nested.number"][n // 3 % 2]},
            }
            for n in range(60)
        ]
        await database["things"].insert_many(documents)
        return documents

    @pytest.mark.parametrize("selected", SELECTIONS)
    @pytest.mark.parametrize("direction", [1, -1])
    @pytest.mark.parametrize("field", VALUES)
    async def test_pages_of_any_size_walk_every_document_once_in_order(
        self, database, documents, field, direction, selected
    ):
        selection = SELECTIONS[selected]
        match = {} if selected == "all" else EVEN
        sort = keyset.Sort(field, direction)
        expected = sorted((keyset.key_of(d, sort) for d in documents if match.items() <= d.items()), key=sortable)
        for limit in (1, 7, 59, 60):
            walked, after, pages = [], None, 0
            for _ in itertools.count():
                page, after = await keyset.page(database["things"], selection, sort, after, limit)
                walked += [keyset.key_of(document, sort) for document in page]
                pages += 1
                if after is None:
                    break
                assert len(page) == limit
                after = CURSORS.decode("q", CURSORS.encode("q", after))  # as it goes to the client and back
                assert pages < 100  # and it ends
            assert walked == expected[::direction]
            assert pages == -(-len(expected) // limit)  # and no empty one at the end

    async def test_an_empty_collection_is_one_empty_page(self, database):
        everything = keyset.Selection({})
        assert await keyset.page(database["things"], everything, keyset.Sort("number", 1), None, 10) == ([], None)

    @pytest.mark.parametrize("direction", [1, -1])
    async def test_what_comes_and_goes_meanwhile_moves_nothing_else(self, database, documents, direction):
        things, sort = database["things"], keyset.Sort("number", direction)
        first, after = await keyset.page(things, keyset.Selection({}), sort, None, 20)
        gone, last_seen = first[3], first[-1]
        await things.delete_many({"_id": {"$in": [gone["_id"], last_seen["_id"]]}})
        await things.insert_one({**first[0], "_id": first[0]["_id"] + "-twin"})  # lies before the cursor
        rest, after = await keyset.page(things, keyset.Selection({}), sort, after, 100)
        assert after is None
        assert sorted(d["_id"] for d in first + rest) == sorted(d["_id"] for d in documents)

    @pytest.mark.parametrize("direction", [1, -1])
    async def test_a_range_in_the_sort_field_holds_on_every_page(self, database, documents, direction):
        sort = keyset.Sort("number", direction)
        selection = keyset.Selection({"number": {"$gte": 0, "$lte": 1}})
        expected = sorted((keyset.key_of(d, sort) for d in documents if 0 <= d["number"] <= 1), key=sortable)
        walked, after = [], None
        while True:
            page, after = await keyset.page(database["things"], selection, sort, after, 4)
            walked += [keyset.key_of(document, sort) for document in page]
            if after is None:
                break
        assert walked == expected[::direction]

    async def test_a_projection_leaves_out_fields(self, database, documents):
        for selection in (keyset.Selection({}), keyset.Selection({}, [{"even": True}])):
            page, _ = await keyset.page(
                database["things"], selection, keyset.Sort("number", 1), None, 3, {"text": 0, "nested": 0}
            )
            assert [set(document) for document in page] == [{"_id", "even", "number", "time", "same"}] * 3


class TestCount:
    @pytest.mark.parametrize(("most", "counted"), [(1, 1), (29, 29), (30, 30), (31, 30)])
    @pytest.mark.parametrize("rest", [[], [{"same": 1}]])
    async def test_counts_to_a_bound_and_no_further(self, database, most, counted, rest):
        await database["things"].insert_many([{"even": n % 2 == 0, "same": 1} for n in range(60)])
        assert await keyset.count(database["things"], keyset.Selection(EVEN, rest), most, 5) == counted

    async def test_nothing_is_none_of_them(self, database):
        assert await keyset.count(database["things"], keyset.Selection(EVEN), 10, 5) == 0

    async def test_ends_without_a_count_when_it_takes_too_long(self, database):
        assert await keyset.count(database["things"], keyset.Selection(EVEN), 10, 1e-6) is None


def sortable(key: list) -> tuple:
    value = key[0]["ms"] if isinstance(key[0], dict) else key[0]
    return (value.encode() if isinstance(value, str) else value), key[1]

"""Versions as entity tags, and what If-Match and If-None-Match say about them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_api.http.etags import etag, none_match, parse_if_match
from shop_api.kernel.errors import InvalidRequest


def test_a_version_is_a_strong_tag():
    assert etag(3) == '"3"'


class TestIfMatch:
    @pytest.mark.parametrize("header", [None, "*", " * "])
    def test_any_version_will_do_without_one_or_with_a_star(self, header):
        assert parse_if_match(header) is None

    @pytest.mark.parametrize(
        ("header", "versions"),
        [
            ('"3"', {3}),
            (' "3" ', {3}),
            ('"3","5"', {3, 5}),
            ('"3" , "5"\t,"3"', {3, 5}),
            ('"999999999999999999"', {10**18 - 1}),
        ],
    )
    def test_names_the_versions_in_quotes(self, header, versions):
        assert parse_if_match(header) == versions

    @pytest.mark.parametrize(
        "header", ['W/"3"', '"abc"', '""', '"-1"', '"1.0"', '"03"', '"0"', '"٣"', '"' + "9" * 500 + '"', '"3 "']
    )
    def test_a_weak_or_foreign_tag_matches_nothing(self, header):
        try:
            assert parse_if_match(header) == frozenset()
        except InvalidRequest:
            assert not header.isascii() or " " in header  # not even a tag

    def test_a_foreign_tag_does_not_hide_one_of_ours(self):
        assert parse_if_match('W/"2", "x", "3"') == {3}

    @pytest.mark.parametrize("header", ["", "3", '"3', '3"', '"3" "4"', "'3'", '"3",', "w/", '*, "3"', '"3"; "4"'])
    def test_what_is_no_list_of_tags_is_refused(self, header):
        with pytest.raises(InvalidRequest) as refused:
            parse_if_match(header)
        assert refused.value.errors[0].loc == ("header", "If-Match")

    @settings(deadline=None)
    @given(st.text())
    def test_any_header_is_understood_or_refused(self, header):
        try:
            versions = parse_if_match(header)
        except InvalidRequest:
            return
        assert versions is None or all(version > 0 for version in versions)

    @settings(deadline=None)
    @given(st.sets(st.integers(1, 10**18 - 1), min_size=1))
    def test_names_the_versions_that_were_given_out(self, versions):
        assert parse_if_match(", ".join(map(etag, versions))) == versions


class TestIfNoneMatch:
    @pytest.mark.parametrize("header", ["*", " * ", '"3"', 'W/"3"', '"1", "3"', '"1",W/"3"'])
    def test_the_client_holds_what_it_names(self, header):
        assert none_match(header, '"3"')

    @pytest.mark.parametrize("header", [None, "", "3", '"33"', '"2", "4"', 'W/"2"', "'3'", '"W/3"', "garbage"])
    def test_the_client_does_not_hold_what_it_does_not_name(self, header):
        assert not none_match(header, '"3"')

"""What all bodies have in common."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shop_api.kernel.schema import Line, Patch, Schema, Slug, merged


class TestMergePatch:
    # RFC 7396, appendix A: every example of it.
    @pytest.mark.parametrize(
        ("original", "patch", "result"),
        [
            ({"a": "b"}, {"a": "c"}, {"a": "c"}),
            ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
            ({"a": "b"}, {"a": None}, {}),
            ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
            ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
            ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
            ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
            ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
            (["a", "b"], ["c", "d"], ["c", "d"]),
            ({"a": "b"}, ["c"], ["c"]),
            ({"a": "foo"}, None, None),
            ({"a": "foo"}, "bar", "bar"),
            ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
            ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
            ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ],
    )
    def test_does_what_the_rfc_says(self, original, patch, result):
        assert merged(original, patch) == result

    values = st.recursive(
        st.none() | st.integers(), lambda inner: st.dictionaries(st.sampled_from("abcd"), inner) | st.lists(inner)
    )

    @settings(deadline=None)
    @given(values, values)
    def test_changes_neither_of_the_two(self, original, patch):
        before = repr((original, patch))
        merged(original, patch)
        assert repr((original, patch)) == before

    @settings(deadline=None)
    @given(values, values)
    def test_twice_is_the_same_as_once(self, original, patch):
        once = merged(original, patch)
        assert merged(once, patch) == once


class Thing(Schema):
    count: int
    flag: bool = False


class ThingPatch(Patch):
    count: int = 0
    flag: bool = False


class TestSchema:
    @pytest.mark.parametrize("fields", [{"count": "1"}, {"count": True}, {"count": 1.0}, {"count": 1, "flag": 1}])
    def test_types_are_strict(self, fields):
        with pytest.raises(ValidationError):
            Thing.model_validate(fields)

    def test_unknown_fields_are_refused(self):
        with pytest.raises(ValidationError, match="extra_forbidden"):
            Thing.model_validate({"count": 1, "colour": "red"})

    def test_a_patch_changes_only_what_it_names(self):
        assert ThingPatch.model_validate({}).changes() == {}
        assert ThingPatch.model_validate({"flag": False}).changes() == {"flag": False}

    def test_a_patch_documents_no_defaults(self):
        assert all("default" not in field for field in ThingPatch.model_json_schema()["properties"].values())


class TestLine:
    @pytest.mark.parametrize("text", ["a", "Assam tea, 250 g", "ä", "𝒳", "a" * 200])
    def test_takes_one_visible_line(self, text):
        assert TypeAdapter(Line).validate_python(text) == text

    @pytest.mark.parametrize("text", [" ä ", "a\u0308", "\u00a0a\u0308\u3000"])
    def test_is_nfc_without_spaces_at_its_ends(self, text):
        assert TypeAdapter(Line).validate_python(text) == "ä"

    @pytest.mark.parametrize(
        "text", ["", " ", "\t", "a\nb", "a\n", "\na", "a\rb", "a\0b", "a\x7f", "a\x1bb", "a" * 201]
    )
    def test_refuses_control_characters_and_nothing_to_see(self, text):
        with pytest.raises(ValidationError):
            TypeAdapter(Line).validate_python(text)


class TestSlug:
    @pytest.mark.parametrize("text", ["tea", "black-tea", "2", "a-1-b", "a" * 64])
    def test_takes_words_joined_by_hyphens(self, text):
        assert TypeAdapter(Slug).validate_python(text) == text

    @pytest.mark.parametrize("text", ["", "Tea", "-tea", "tea-", "a--b", "a_b", "tè", "a b", "tea\n", "a" * 65])
    def test_refuses_everything_else(self, text):
        with pytest.raises(ValidationError):
            TypeAdapter(Slug).validate_python(text)

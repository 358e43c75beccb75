"""One reading of a body, or a refusal that tells nothing of it."""

import contextlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_api.http import strict_json
from shop_api.kernel.errors import MalformedBody

SECRET = "hunter2hunter2"


def refusal(raw: bytes) -> str:
    with pytest.raises(MalformedBody) as refused:
        strict_json.loads(raw)
    return refused.value.detail


class TestNumbers:
    @pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
    def test_what_json_has_no_word_for_is_refused(self, text):
        assert refusal(f'{{"amount": {text}}}'.encode()) == f"{text} is not JSON."

    @pytest.mark.parametrize(
        "text", ["1e400", "-1e400", "1E+400", "0.1e99999999999999999999", "1" + "0" * 400 + ".5"]
    )
    def test_a_number_beyond_double_precision_is_refused(self, text):
        assert refusal(text.encode()) == "A number is out of range."

    @pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 0, -1])
    def test_every_64_bit_integer_is_read_exactly(self, value):
        assert strict_json.loads(str(value).encode()) == value

    @pytest.mark.parametrize("text", [str(2**63), str(-(2**63) - 1), "9" * 20, "9" * 5_000, "-" + "9" * 5_000])
    def test_an_integer_past_64_bits_is_refused(self, text):
        assert refusal(text.encode()) == "An integer does not fit into 64 bits."

    @pytest.mark.parametrize("text", ["01", "+1", "1.", ".5", "0x10", "1_000", "1e", "--1", "١"])
    def test_what_json_does_not_spell_so_is_refused(self, text):
        refusal(text.encode())

    def test_a_number_without_a_fraction_is_an_integer_as_far_as_it_is_exact(self):
        kinds = [type(value) for value in strict_json.loads(b"[1, 1.0, 1e0, -0.0, 2500.00, 1.5, 1e-1, 1e16, 1e300]")]
        assert kinds == [int, int, int, int, int, float, float, float, float]

    def test_a_number_too_small_for_double_precision_is_zero(self):
        assert strict_json.loads(b"1e-400") == 0.0


class TestText:
    @pytest.mark.parametrize(
        "raw",
        [
            rb'"\ud800"',
            rb'"\udfff"',
            rb'"a\ud83d"',
            rb'"\ude00\ud83d"',
            rb'{"\ud800": 1}',
            rb'[{"a": ["\uD83Dx"]}]',
        ],
    )
    def test_half_a_surrogate_pair_is_refused(self, raw):
        assert refusal(raw) == "A string contains half of a surrogate pair."

    def test_a_whole_surrogate_pair_is_one_character(self):
        assert strict_json.loads(rb'"\ud83d\ude00"') == "😀"

    @pytest.mark.parametrize("raw", [rb'"\u0000"', rb'["a\u0000b"]', rb'{"\u0000": 1}'])
    def test_an_escaped_nul_is_refused(self, raw):
        assert refusal(raw) == "A string contains NUL."

    def test_backslashes_before_a_u_are_not_an_escape(self):
        assert strict_json.loads(rb'"\\u0000 \\ud800"') == r"\u0000 \ud800"

    @pytest.mark.parametrize("raw", [b'"\x00"', b"\x00", b"{}\x00", b'"a\nb"', b'"\x1f"'])
    def test_a_raw_control_character_is_refused(self, raw):
        refusal(raw)

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
    def test_another_encoding_is_refused(self, encoding):
        refusal('{"name": "tea"}'.encode(encoding))

    @pytest.mark.parametrize("raw", [b'"\xff"', b'"\xc3"', b'"\xed\xa0\x80"', b'"\xc0\x80"', 'ä"'.encode("latin-1")])
    def test_what_is_not_utf_8_is_refused(self, raw):
        assert refusal(raw) == "The body is not UTF-8."

    def test_a_byte_order_mark_is_refused(self):
        refusal(b"\xef\xbb\xbf{}")


class TestStructure:
    @pytest.mark.parametrize(
        "raw",
        [
            b'{"price": 1, "price": 2}',
            b'{"price": 1, "price": 1}',
            b'[{"a": {"b": 1, "c": 2, "b": 3}}]',
            rb'{"price": 1, "pri\u0063e": 2}',
            b'{"": 1, "": 2}',
        ],
    )
    def test_a_key_given_twice_is_refused(self, raw):
        assert refusal(raw) == "An object has the same key twice."

    def test_the_same_key_in_different_objects_is_fine(self):
        assert strict_json.loads(b'[{"a": {"a": 1}}, {"a": 2}]') == [{"a": {"a": 1}}, {"a": 2}]

    @pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
    @pytest.mark.parametrize("closed", [False, True])
    def test_a_hundred_thousand_levels_are_refused(self, opening, closed):
        closing = opening.translate(bytes.maketrans(b"[{", b"]}"), b'"a:')[::-1] if closed else b""
        assert refusal(opening * 100_000 + b"1" + closing * 100_000).startswith("The body has too many levels")

    def test_any_depth_is_read_or_refused(self):
        for depth in range(100, 20_000, 199):
            try:
                value = strict_json.loads(b"[" * depth + b"]" * depth)
            except MalformedBody as error:
                assert error.detail.startswith("The body has too many levels")  # noqa: PT017
            else:
                assert value == [] or isinstance(value[0], list)

    @pytest.mark.parametrize(
        "raw",
        [b"", b" ", b"\n", b"{", b"[1,]", b'{"a":1,}', b"{} {}", b"1 2", b"[] x", b"{'a': 1}", b"nul", b"//\n1"],
    )
    def test_what_is_not_exactly_one_value_is_refused(self, raw):
        assert refusal(raw).startswith("Not JSON at line ")

    def test_a_refusal_says_where(self):
        assert refusal(b'{\n  "a" 1\n}') == "Not JSON at line 2, column 7."

    @pytest.mark.parametrize(
        "raw",
        [
            f'{{"password": "{SECRET}"',
            f'{{"password": "{SECRET}", "password": "{SECRET}"}}',
            f'{{"{SECRET}": 1, "{SECRET}": 1}}',
            f'"{SECRET}\\u0000"',
            f'"{SECRET}\\ud800"',
            f'"{SECRET}\\q"',
            f'{SECRET}: "{SECRET}"',
        ],
    )
    def test_a_refusal_never_repeats_the_body(self, raw):
        with pytest.raises(MalformedBody) as refused:
            strict_json.loads(raw.encode())
        assert SECRET[:4] not in f"{refused.value} {refused.value.detail} {refused.value.members}"
        assert refused.value.__suppress_context__ or refused.value.__context__ is None


sane = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], min_codepoint=1)), inner)
    ),
    max_leaves=30,
)


class TestAnything:
    @settings(deadline=None)
    @given(sane, st.booleans())
    def test_what_json_writes_is_read_back_the_same(self, value, ascii_only):
        assert strict_json.loads(json.dumps(value, ensure_ascii=ascii_only).encode()) == value

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    def test_any_bytes_are_read_or_refused(self, raw):
        with contextlib.suppress(MalformedBody):
            strict_json.loads(raw)

    @settings(deadline=None)
    @given(st.text(alphabet='[]{}",:\\u0d81eE+-. \nNaInfity\ud800\0', max_size=60))
    def test_anything_like_json_is_read_as_json_reads_it_or_refused(self, text):
        raw = text.encode("utf-8", "surrogatepass")
        try:
            value = strict_json.loads(raw)
        except MalformedBody:
            return
        assert value == json.loads(raw)
        assert not (isinstance(value, float) and not math.isfinite(value))

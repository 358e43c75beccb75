"""Files of rows as spreadsheets and other programs write them."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from shop_api.features.products.transfer.row import Row, UnreadableFile
from shop_api.features.products.transfer.rows import Format, open_rows


def read(folder: Path, content: bytes, form: Format = "csv") -> tuple[str, list[str] | None, list[Row]]:
    """The encoding, the columns and the rows of a file."""
    file = folder / "file"
    file.write_bytes(content)
    with open_rows(file, form) as source:
        return source.encoding, source.columns, list(source.rows)


CELLS = st.text(st.characters(codec="cp1252", exclude_characters="\0"), max_size=8)
ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "cp1252": "Windows-1252",
}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=5),
    encoding=st.sampled_from(sorted(ENCODINGS)),
    delimiter=st.sampled_from(",;\t"),
    before=st.sampled_from(["", "\r\n", "sep={}\r\n", ",,\r\n"]),
    padding=st.integers(0, 3),
)
def test_every_cell_is_read_as_it_was_written(tmp_path, table, encoding, delimiter, before, padding):
    out = io.StringIO(newline="")
    header = ["name", "größe" if encoding == "cp1252" else "size", 'a "b",;\tc']
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(header)
    writer.writerows([*cells, *[""] * padding] for cells in table)
    text = before.format(delimiter).replace(",,", delimiter * 2) + out.getvalue()
    content = text.encode(encoding)
    # What could be UTF-8 as well is taken for it.
    assume(encoding != "cp1252" or not re.search(rb"[\xc2-\xf4][\x80-\xbf]", content))
    said, columns, rows = read(tmp_path, content)
    assert said == ENCODINGS[encoding]
    assert columns == [" ".join(name.split()) for name in header]
    assert [row.problem for row in rows] == [None] * len(rows)
    expected = [cells for cells in table if any(cells)]
    assert [list(row.values.values()) for row in rows] == expected


class TestEncodings:
    def test_a_broken_line_of_a_utf8_file_costs_one_row(self, tmp_path):
        content = "name\nä\nö\n".encode() + "ü\n".encode("cp1252") + "ß\n".encode()
        said, _, rows = read(tmp_path, content)
        assert (said, [row.problem for row in rows]) == ("UTF-8", [None, None, "not CSV: not UTF-8", None])

    @pytest.mark.parametrize(
        ("content", "encoding"),
        [
            ("name\nä\n".encode("cp1252") + b"\x81\nb\n", "Windows-1252"),
            ("name\nä\n".encode("utf-16-le") + b"\x00\xd8\n\x00b\x00\n\x00", "UTF-16"),
            ("name\nä\nb\n".encode("utf-16") + b"x", "UTF-16"),
        ],
    )
    def test_what_cannot_be_decoded_costs_one_row(self, tmp_path, content, encoding):
        said, _, rows = read(tmp_path, content)
        assert said == encoding
        assert sorted(row.values["name"] for row in rows if row.problem is None) == ["b", "ä"]
        assert [row.problem for row in rows if row.problem] == [f"not CSV: not {encoding}"]

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
    @pytest.mark.parametrize(("form", "text"), [("json", '[{"a": "ä𝒳"}]'), ("jsonl", '{"a": "ä𝒳"}\n')])
    def test_json_may_be_utf16(self, tmp_path, encoding, form, text):
        _, columns, rows = read(tmp_path, text.encode(encoding), form)
        assert (columns, [row.values for row in rows]) == (None, [{"a": "ä𝒳"}])

    def test_json_is_never_windows_1252(self, tmp_path):
        said, _, rows = read(tmp_path, '{"a": "ä"}\n'.encode("cp1252"), "jsonl")
        assert (said, [row.problem for row in rows]) == ("UTF-8", ["not UTF-8"])


class TestHeader:
    def test_may_have_line_breaks_in_quotes(self, tmp_path):
        _, columns, rows = read(tmp_path, b'"Price\n(EUR)";"a ""b""";c\n1;2;3\n"x\ny";5;6\n7;8;9\n')
        assert columns == ["Price (EUR)", 'a "b"', "c"]
        assert [row.number for row in rows] == [3, 4, 6]

    @pytest.mark.parametrize("rest", [b"x\n" * 10, b"x\n" * 1000, b""])
    def test_with_a_quotation_mark_that_is_never_closed_is_refused(self, tmp_path, rest):
        with pytest.raises(UnreadableFile, match="a quotation mark is never closed"):
            read(tmp_path, b'name,"price\n' + rest)


class TestRepeatedKeys:
    @pytest.mark.parametrize(
        "bad", ['{"a": 1, "a": 2}', '{"b": {"a": 1, "a": 1}}', '{"b": [{"a": 1, "\\u0061": 1}]}']
    )
    def test_reject_the_row_and_no_other(self, tmp_path, bad):
        for form, text in (
            ("jsonl", f'{{"a": 1}}\n{bad}\n{{"a": 3}}\n'),
            ("json", f'[{{"a": 1}}, {bad}, {{"a": 3}}]'),
        ):
            _, _, rows = read(tmp_path, text.encode(), form)  # type: ignore[arg-type]
            assert [row.problem for row in rows] == [None, "'a' is given more than once", None]

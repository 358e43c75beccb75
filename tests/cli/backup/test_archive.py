import gzip
import json
import stat
import tracemalloc
from pathlib import Path

import pytest

from shop_api.cli.backup import archive
from shop_api.cli.backup.archive import BadArchive
from shop_api.storage.mongo import extended_json
from support.archives import ABOUT, FIRST, lines_of, write_lines, write_sealed


def made(path: Path, documents: int = 3) -> Path:
    with archive.written(path, ABOUT, None) as out:
        for n in range(documents):
            out.add("products", json.dumps({"_id": n}))
    return path


def rewritten(path: Path, change) -> Path:
    return write_lines(path, change(lines_of(path)))


def refusal(path: Path) -> str:
    with pytest.raises(BadArchive) as refused:
        archive.examined(path, None)
    return str(refused.value)


def test_gives_back_what_was_added(tmp_path):
    path = made(tmp_path / "shop.backup")
    assert archive.examined(path, None) == (ABOUT, 3)
    assert [json.loads(line) for line in archive.documents(path, None)] == [
        ["products", {"_id": n}] for n in range(3)
    ]


def test_may_hold_nothing(tmp_path):
    assert archive.examined(made(tmp_path / "shop.backup", 0), None).documents == 0


def test_is_for_its_owner_only_and_leaves_nothing_beside_it(tmp_path):
    path = made(tmp_path / "shop.backup")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_one_before(tmp_path):
    path = made(tmp_path / "shop.backup")
    with pytest.raises(RuntimeError), archive.written(path, ABOUT, None) as out:  # noqa: PT012
        out.add("products", "{}")
        raise RuntimeError
    assert archive.examined(path, None).documents == 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7, 0.99])
def test_a_part_of_one_is_refused(tmp_path, kept):
    path = made(tmp_path / "shop.backup", 300)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert "shop.backup is " in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[:2] + lines[3:],
        lambda lines: [*lines[:2], lines[2].replace(b"1", b"7"), *lines[3:]],
        lambda lines: [*lines, b'["products",{"_id":9}]\n'],
        lambda lines: [lines[0].replace(b"shop", b"show", 1), *lines[1:]],
    ],
    ids=["no end", "one missing", "one changed", "one more", "another beginning"],
)
def test_one_that_was_changed_is_refused(tmp_path, change):
    assert refusal(rewritten(made(tmp_path / "shop.backup"), change))


def test_a_changed_bit_is_found(tmp_path):
    path = made(tmp_path / "shop.backup", 300)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    assert "damaged" in refusal(path)


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "products.jsonl"
    path.write_text('{"a": 1}\n')
    assert "damaged, or no backup" in refusal(path)
    path.write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert refusal(path) == f"{path} is no backup of shop_api"


def test_one_of_a_later_form_is_refused_with_who_made_it(tmp_path):
    path = rewritten(made(tmp_path / "shop.backup"), lambda lines: [lines[0].replace(b'"form": 1', b'"form": 2')])
    assert refusal(path).endswith("has form 2, made by shop_api 1; this one reads form 1")


HOSTILE = {
    "nested lists": b"[" * 60_000,
    "nested objects": b'{"a":' * 12_000,
    "not UTF-8": b'{"\xff": 1}',
    "half of UTF-16": b"\x00{",
    "number": b"7",
    "long number": b"1" * 5000,
    "not a number": b"NaN",
    "null": b"null",
    "text": b'"shop_api backup"',
    "list": b"[1]",
    "nothing": b"",
    "nested values": b'{"what": "shop_api backup", "form": %s}' % (b"[" * 100 + b"]" * 100),
    "number of documents": b'{"documents": [3], "sha256": {}}',
    "checksum in a list": b'{"documents": 3, "sha256": ["x"]}',
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
class TestHostileLines:
    def test_as_the_first_one(self, tmp_path, line):
        path = made(tmp_path / "shop.backup")
        assert "shop.backup " in refusal(write_sealed(path, [line + b"\n", *lines_of(path)[1:-1]]))

    def test_as_the_last_one(self, tmp_path, line):
        path = made(tmp_path / "shop.backup")
        assert "shop.backup " in refusal(write_lines(path, [*lines_of(path)[:-1], line + b"\n"]))


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"version": 1, "taken_at": "2030"},
        {"version": "1"},
        {"version": "1", "taken_at": ["2030"]},
        {"version": "1\x1b[2J", "taken_at": "2030"},
        {"version": "1", "taken_at": "2030\nshop-api: restored"},
    ],
)
def test_what_a_first_line_says_is_there_and_can_be_printed(tmp_path, about):
    line = json.dumps({"what": "shop_api backup", "form": 1, **about}).encode() + b"\n"
    assert "is no backup of shop_api" in refusal(write_sealed(tmp_path / "shop.backup", [line]))


def test_nothing_comes_after_the_last_line(tmp_path):
    path = made(tmp_path / "shop.backup")
    for more in ([b"\n"], [b'["products",{"_id":9}]\n'], lines_of(path)):
        assert "damaged" in refusal(write_lines(tmp_path / "more", [*lines_of(path), *more]))


def peak_of_refusal(path: Path) -> tuple[str, int]:
    """Why the file is refused, and how many bytes were in use at once."""
    tracemalloc.start()
    try:
        return refusal(path), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("first", [b"", FIRST, FIRST + b'["products",'], ids=["first", "second", "document"])
def test_a_line_without_end_takes_little_more_memory_than_the_longest_that_is_read(tmp_path, first):
    with gzip.open(tmp_path / "shop.backup", "wb", 1) as out:
        out.write(first)
        for _ in range(256):
            out.write(bytes(1 << 20))
    reason, peak = peak_of_refusal(tmp_path / "shop.backup")
    assert "longer than " in reason
    assert peak < 3 * archive.MAX_LINE_BYTES < 256 << 20


def test_a_last_line_is_not_parsed_if_it_is_longer_than_one_that_is_written(tmp_path):
    line = b'{"documents": 0, "x": [%s]}' % b",".join([b"{}"] * 1_000_000)
    reason, peak = peak_of_refusal(write_lines(tmp_path / "shop.backup", [FIRST, line]))
    assert "damaged" in reason
    assert peak < 10 * len(line)


def test_the_largest_text_that_mongodb_stores_can_be_written(tmp_path):
    with archive.written(tmp_path / "shop.backup", ABOUT, None) as out:
        out.add("things", extended_json.dumps({"_id": 1, "text": "é" * (8 << 20)}))
    assert archive.examined(tmp_path / "shop.backup", None).documents == 1


def test_a_document_that_could_not_be_read_again_is_not_written(tmp_path):
    with pytest.raises(archive.DocumentTooLong, match="things"), archive.written(tmp_path / "b", ABOUT, None) as out:
        out.add("things", json.dumps("x" * archive.MAX_LINE_BYTES))
    assert not (tmp_path / "b").exists()


MANY = "[" + "{}," * (archive.MAX_LINE_BYTES // 15) + "{}]"


def test_a_line_of_more_values_than_mongodb_stores_is_refused_before_it_is_parsed(tmp_path):
    path = write_sealed(tmp_path / "shop.backup", [FIRST, f'["things",{{"_id":1,"a":{MANY}}}]\n'.encode()])
    assert "has a line with more than 4,194,304 values, which no backup has" in refusal(path)


def test_a_document_of_so_many_values_is_not_written(tmp_path):
    with pytest.raises(archive.DocumentTooLong, match="things"), archive.written(tmp_path / "b", ABOUT, None) as out:
        out.add("things", f'{{"_id":1,"a":{MANY}}}')

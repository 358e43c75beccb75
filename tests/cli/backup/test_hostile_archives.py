"""Archives of a stranger: a restore says in words what is wrong with them, and changes nothing."""

from pathlib import Path

import pytest

from shop_api.cli.backup import repository
from support.archives import FIRST, document_line, write_lines, write_sealed
from support.processes import command

LINES = {
    "nested lists": b'["things",{"_id":1,"a":' + b"[" * 200_000,
    "nested documents": b'["things",' + b'{"a":' * 200_000,
    "not UTF-8": b'["things",{"_id":"\xff"}]',
    "half a character": b'["things",{"_id":"\\ud800"}]',
    "a field with a NUL": b'["things",{"_id":1,"a\\u0000b":1}]',
    "a number of 100 bits": b'["things",{"_id":1267650600228229401496703205376}]',
    "a number of 5000 digits": b'["things",{"_id":%s}]' % (b"1" * 5000),
    "a bad id": b'["things",{"_id":{"$oid":"zz"}}]',
    "a bad date": b'["things",{"_id":{"$date":{"$numberLong":"x"}}}]',
    "a date beyond all dates": b'["things",{"_id":{"$date":{"$numberLong":"99999999999999999999"}}}]',
    "a bad decimal": b'["things",{"_id":{"$numberDecimal":"x"}}]',
    "a bad binary": b'["things",{"_id":{"$binary":{"base64":"x","subType":"zz"}}}]',
    "no document": b'["things"]',
    "a number": b'["things",5]',
    "a list": b'["things",[1]]',
    "two documents": b'["things",{"_id":1},{"_id":2}]',
    "no collection": b'[{"_id":1},{"_id":2}]',
    "a collection without a name": b'["",{"_id":1}]',
    "a collection of the server": b'["system.views",{"_id":1}]',
    "a command": b'["$cmd",{"_id":1}]',
    "a collection with a dot at its end": b'["things.",{"_id":1}]',
    "a collection with a NUL": b'["things\\u0000",{"_id":1}]',
    "a schema without a state": b'["schema",{"_id":"schema"}]',
    "a schema in a state of its own": b'["schema",{"_id":"schema","state":"x"}]',
    "a schema with another type": b'["schema",{"_id":"schema","state":"ready","applied":5}]',
    "a schema with texts for numbers": b'["schema",{"_id":"schema","state":"ready","applied":{"users":"1"}}]',
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_that_no_backup_has_is_refused_before_anything_is_changed(tmp_path: Path, line: bytes):
    file = write_sealed(tmp_path / "shop.backup", [FIRST, document_line("things", {"_id": 0}), line + b"\n"])
    refused = command("restore", file, "--force", "--unauthenticated", SHOP_DATA_DIR=tmp_path / "data")
    assert refused.returncode == 2, refused.stderr
    assert "the backup is not " in refused.stderr
    assert not (tmp_path / "data").exists()


def test_so_is_a_file_of_a_few_bytes_that_unpacks_into_one_line_of_a_gigabyte(tmp_path: Path):
    file = write_lines(tmp_path / "shop.backup", [FIRST, b'["things",', bytes(100 << 20)])
    assert file.stat().st_size < 1 << 20
    refused = command("restore", file, "--force", "--unauthenticated", SHOP_DATA_DIR=tmp_path / "data")
    assert refused.returncode == 2
    assert f"{file} has a line longer than 67,108,864 bytes, which no backup has" in refused.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("entries", "sizes"),
    [
        ([], []),
        ([("a", 1)] * 500, [500]),
        ([("a", 1)] * 501, [500, 1]),
        ([("a", 1), ("b", 1), ("b", 1), ("a", 1)], [1, 2, 1]),
        ([("a", 8 << 20), ("a", 8 << 20), ("a", 1)], [2, 1]),
        ([("a", 60 << 20), ("a", 60 << 20)], [1, 1]),
    ],
)
def test_documents_are_inserted_in_batches_of_bounded_length(entries: list[tuple[str, int]], sizes: list[int]):
    made = [repository.Entry(name, {"_id": n}, size) for n, (name, size) in enumerate(entries)]
    found = list(repository.batches(made))
    assert [len(documents) for _, documents in found] == sizes
    assert [document for _, documents in found for document in documents] == [entry.document for entry in made]

import gzip
import json
import stat
from pathlib import Path

import pytest

from shop_api.cli.backup import archive
from shop_api.cli.backup.archive import BadArchive

ABOUT = {"version": "1", "database": "shop", "taken_at": "2030-01-01T00:00:00+00:00"}


def made(path: Path, documents: int = 3) -> Path:
    with archive.written(path, ABOUT) as out:
        for n in range(documents):
            out.add("products", json.dumps({"_id": n}))
    return path


def rewritten(path: Path, change) -> Path:
    path.write_bytes(gzip.compress(b"".join(change(gzip.decompress(path.read_bytes()).splitlines(keepends=True)))))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadArchive) as refused:
        archive.examined(path)
    return str(refused.value)


def test_gives_back_what_was_added(tmp_path):
    path = made(tmp_path / "shop.backup")
    assert archive.examined(path) == (ABOUT, 3)
    assert [json.loads(line) for line in archive.documents(path)] == [["products", {"_id": n}] for n in range(3)]


def test_may_hold_nothing(tmp_path):
    assert archive.examined(made(tmp_path / "shop.backup", 0)).documents == 0


def test_is_for_its_owner_only_and_leaves_nothing_beside_it(tmp_path):
    path = made(tmp_path / "shop.backup")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_one_before(tmp_path):
    path = made(tmp_path / "shop.backup")
    with pytest.raises(RuntimeError), archive.written(path, ABOUT) as out:  # noqa: PT012
        out.add("products", "{}")
        raise RuntimeError
    assert archive.examined(path).documents == 3
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

"""Files that are there as a whole or not at all."""

import os

import pytest

from shop_api.kernel.files import replacing, write_private


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path):
    return path.stat().st_mode & 0o777


def test_all_of_it_appears_at_the_end(path):
    with replacing(path) as file:
        file.write(b"content")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_what_was_there(path):
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:  # noqa: PT012
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"before"
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_process_left_is_replaced_and_so_are_its_permissions(path):
    part = path.with_name("file.part")
    part.write_bytes(b"longer than the content")
    part.chmod(0o644)
    write_private(path, b"content")
    assert path.read_bytes() == b"content"
    assert mode(path) == 0o600


def test_only_its_owner_may_read_it_even_before_it_is_whole(path, umask):
    path.touch(0o644)
    with replacing(path):
        assert mode(path.with_name("file.part")) == 0o600
    assert mode(path) == 0o600


def test_with_another_mode_the_umask_decides(path, umask):
    with replacing(path, mode=0o666):
        pass
    assert mode(path) == 0o640


def test_text_is_written_with_its_line_ends_as_they_are(path):
    with replacing(path, encoding="utf-8", newline="") as file:
        file.write("ä\r\nb\n")
    assert path.read_bytes() == "ä\r\nb\n".encode()

"""Digests, and replacement by rename only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.frameworks import files


def test_digest_of_parts_has_no_order() -> None:
    assert files.digest_parts({"a": "1", "b": "2"}) == files.digest_parts({"b": "2", "a": "1"})
    assert files.digest_parts({"a": "1"}) != files.digest_parts({"a": "2"})


def test_replacing_keeps_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(b"old")
    path.chmod(0o644)
    with files.replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m.bin"]


def test_a_full_disk_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    with pytest.raises(UsageError) as caught, files.replacing(path):
        raise OSError(28, "No space left on device")
    assert caught.value.message == f"{path}: cannot be written: No space left on device"


def test_a_missing_file_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file or directory"):
        files.sha256(tmp_path / "no")

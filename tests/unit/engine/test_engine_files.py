"""Outputs appear whole or not at all, and nothing of the user's is lost."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgekit.engine.files import disk_errors, new_file, new_folder, size_bytes
from edgekit.errors import UsageError

NAMES = frozenset({"model.x", "report.json"})


def fill(folder: Path, text: str) -> None:
    (folder / "model.x").write_text(text)


def listing(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_a_folder_appears_with_everything_in_it(tmp_path: Path) -> None:
    with new_folder(tmp_path / "deep/out", what="--out", replaces=NAMES, force=False) as folder:
        fill(folder, "new")
        assert not (tmp_path / "deep/out").exists()
    assert (tmp_path / "deep/out/model.x").read_text() == "new"
    assert listing(tmp_path / "deep") == ["out"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    fill(out, "old")
    with (
        pytest.raises(error),
        new_folder(out, what="--out", replaces=NAMES, force=True) as folder,
    ):
        fill(folder, "half")
        raise error
    assert (out / "model.x").read_text() == "old"
    assert listing(tmp_path) == ["out"]


def test_a_failure_leaves_no_folders_on_the_way(tmp_path: Path) -> None:
    out = tmp_path / "a/b/out"
    with (
        pytest.raises(RuntimeError),
        new_folder(out, what="--out", replaces=NAMES, force=False),
    ):
        raise RuntimeError
    assert listing(tmp_path) == []


def test_force_replaces_only_what_edgekit_made(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    fill(out, "old")
    with (
        pytest.raises(UsageError) as caught,
        new_folder(out, what="--out", replaces=NAMES, force=False),
    ):
        pass
    assert (caught.value.message, caught.value.hint) == (
        f"--out '{out}' exists already", "use --force to replace it",
    )  # fmt: skip
    with new_folder(out, what="--out", replaces=NAMES, force=True) as folder:
        fill(folder, "new")
    assert (out / "model.x").read_text() == "new"
    (out / "thesis.tex").write_text("years")
    with (
        pytest.raises(UsageError, match="did not make, such as 'thesis.tex'"),
        new_folder(out, what="--out", replaces=NAMES, force=True),
    ):
        pass
    assert (out / "thesis.tex").read_text() == "years"


def test_an_empty_folder_is_nobodys_loss(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out", what="--out", replaces=NAMES, force=False) as folder:
        fill(folder, "new")
    assert listing(tmp_path / "out") == ["model.x"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "no space left on device"), (errno.EROFS, "read-only file system")],
)
def test_a_disk_that_refuses_is_one_sentence(number: int, words: str) -> None:
    with pytest.raises(UsageError) as caught, disk_errors("--out", Path("out")):
        raise OSError(number, os.strerror(number))
    assert caught.value.message == f"--out 'out': {words}"
    with pytest.raises(OSError, match="odd"), disk_errors("--out", Path("out")):
        raise OSError(errno.EIO, "odd")


def test_a_folder_that_fills_up_meanwhile_is_not_lost(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (
        pytest.raises(UsageError, match="did not make, such as 'mine.txt'"),
        new_folder(out, what="--out", replaces=NAMES, force=False) as folder,
    ):
        fill(folder, "new")
        out.mkdir()
        (out / "mine.txt").write_text("precious")
    assert (out / "mine.txt").read_text() == "precious"
    assert listing(tmp_path) == ["out"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with new_folder(tmp_path / "link", what="--out", replaces=NAMES, force=False) as folder:
        fill(folder, "new")
    assert (tmp_path / "link").is_symlink()
    assert listing(tmp_path / "real") == ["model.x"]


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_a_folder_in_use_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(UsageError, match="is a folder in use"),
        new_folder(Path(place), what="--out", replaces=NAMES, force=True),
    ):
        pass


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    with new_file(path, what="--out", force=False) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    with (
        pytest.raises(UsageError, match="exists already"),
        new_file(path, what="--out", force=False),
    ):
        pass
    with pytest.raises(ValueError, match="stop"), new_file(path, what="--out", force=True) as temp:
        temp.write_text("half")
        raise ValueError("stop")
    assert path.read_text() == "new"
    assert listing(tmp_path) == ["m.bin"]


def test_what_lies_beside_a_file_goes_along(tmp_path: Path) -> None:
    with new_file(tmp_path / "m.x", what="--out", force=False) as temporary:
        temporary.write_text("model")
        (temporary.parent / "m.data").write_text("weights")
    assert (tmp_path / "m.data").read_text() == "weights"
    (tmp_path / "m.x").unlink()
    with (
        pytest.raises(UsageError, match="its file 'm.data' exists already"),
        new_file(tmp_path / "m.x", what="--out", force=False) as temporary,
    ):
        temporary.write_text("model")
        (temporary.parent / "m.data").write_text("others")
    assert [path.name for path in tmp_path.iterdir()] == ["m.data"]
    assert (tmp_path / "m.data").read_text() == "weights"


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(UsageError, match=r"--out '.*file/out'"),
        new_folder(tmp_path / "file/out", what="--out", replaces=NAMES, force=False),
    ):
        pass


def test_sizes_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/b").write_bytes(b"123")
    assert (size_bytes(tmp_path / "a"), size_bytes(tmp_path)) == (5, 8)


def test_many_at_once_on_one_folder_leave_one_whole(tmp_path: Path) -> None:
    """Looking at what is there and renaming are one step: nobody meets a folder half-moved."""

    def write(number: int) -> None:
        with new_folder(tmp_path / "out", what="--out", replaces=NAMES, force=True) as folder:
            fill(folder, str(number))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(400)))
    assert listing(tmp_path) == ["out"]
    assert (tmp_path / "out/model.x").read_text().isdigit()


def test_of_many_that_may_not_replace_one_wins(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def write(number: int) -> str:
        try:
            with new_folder(tmp_path / "out", what="--out", replaces=NAMES, force=False) as folder:
                fill(folder, str(number))
                start.wait()
        except UsageError as error:
            return str(error)
        return "written"

    with ThreadPoolExecutor(8) as pool:
        said = sorted(pool.map(write, range(8)))
    assert said[-1] == "written"
    assert said[:-1] == [f"--out '{tmp_path}/out' exists already"] * 7

"""A bundle from anywhere: opened when it is whole, and otherwise refused with nothing left."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.bundle import Manifest
from edgekit.engine import bundle_zip
from edgekit.engine.bundles import Bundle, model_in_bundle, open_bundle, write_bundle
from edgekit.engine.models import open_artifact
from edgekit.engine.targets import target_for
from edgekit.errors import UsageError
from edgekit.frameworks.files import cache_root


@pytest.fixture(scope="module")
def whole(tiny_float: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a bundle."""
    source = open_artifact(tiny_float)
    path = tmp_path_factory.mktemp("whole") / "tiny.ekb"
    write_bundle(source, target_for(source, None, threads=None), path)
    return path.read_bytes()


def members(data: bytes, tmp_path: Path) -> dict[str, bytes]:
    place = tmp_path / "members.ekb"
    place.write_bytes(data)
    with zipfile.ZipFile(place) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_sums(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with a SHA256SUMS that fits them: a forger can make one too."""
    lines = [
        f"{hashlib.sha256(data).hexdigest()}  {name}\n"
        for name, data in sorted(files.items())
        if name != "SHA256SUMS"
    ]
    return {**files, "SHA256SUMS": "".join(lines).encode()}


def refused(path: Path) -> str:
    """The one sentence, after a look that nothing was left behind."""
    with pytest.raises(UsageError) as caught:
        open_bundle(path)
    for place in ("scratch", "steps"):
        folder = cache_root() / place
        assert not folder.exists() or not list(folder.iterdir()), "something was left behind"
    assert caught.value.message.startswith(f"bundle '{path}'")
    assert "\n" not in caught.value.message
    return caught.value.message


def test_it_opens_and_is_found_again(whole: bytes, tmp_path: Path, tiny_float: Path) -> None:
    path = tmp_path / "tiny.ekb"
    path.write_bytes(whole)
    first = open_bundle(path)
    assert isinstance(first, Bundle)
    assert first.artifact.path.read_bytes() == tiny_float.read_bytes()
    assert first.artifact.digest == first.manifest.model.digest
    assert model_in_bundle(path) == first.artifact
    inputs, outputs = first.golden()
    assert len(inputs[0]) == len(outputs[0]) == first.manifest.golden.count == 8
    assert not list((cache_root() / "scratch").iterdir())
    kept = first.folder / "labels.txt"
    kept.write_text("left by someone")  # A damaged copy in the cache is made anew.
    again = open_bundle(path)
    assert again.folder == first.folder
    assert not kept.exists()
    (first.folder / "run.py").write_text("import os")
    assert (open_bundle(path).folder / "run.py").read_text() != "import os"


@given(data=st.data())
@settings(max_examples=150)
def test_mutated_bundles_are_refused_or_equal(
    data: st.DataObject, whole: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mutated = bytearray(whole)
    # The directory and the headers are where a reader can go wrong; most bytes are the model's.
    near_end = st.integers(len(whole) - 2000, len(whole) - 1)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(near_end | st.integers(0, len(whole) - 1))
        mutated[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del mutated[data.draw(st.integers(0, len(mutated))) :]
    path = tmp_path_factory.getbasetemp() / "mutated.ekb"
    path.write_bytes(mutated)
    try:
        opened = open_bundle(path)
    except UsageError:
        return
    same = members(whole, tmp_path_factory.getbasetemp())
    held = {
        file.relative_to(opened.folder).as_posix(): file.read_bytes()
        for file in opened.folder.rglob("*")
        if file.is_file()
    }
    assert held == same


@pytest.mark.parametrize("cut", [0, 1, 21, 100, -1, -22, -500])
def test_a_cut_bundle(cut: int, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.ekb"
    path.write_bytes(whole[:cut])
    message = refused(path)
    assert "no bundle" in message if cut in (0, 1) else "cut off" in message


def test_what_is_no_bundle(tmp_path: Path) -> None:
    path = tmp_path / "m.ekb"
    assert "no such file" in refused(path)
    path.write_text("hello, this is a text that is long enough to be looked at")
    assert "is no bundle" in refused(path)
    assert "is a folder" in refused(tmp_path)


def test_one_more_byte_behind_it(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "more.ekb"
    path.write_bytes(whole + b"\0")
    assert "something behind it" in refused(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run.py": b"import os"}, "the file 'run.py' was changed"),
        ({"run.py": None}, "the file 'run.py' is missing"),
        ({"extra.txt": b"x"}, "the file 'extra.txt' is not listed"),
        ({"SHA256SUMS": None}, "'SHA256SUMS' is missing"),
        ({"SHA256SUMS": b""}, "empty or cut off"),
        ({"SHA256SUMS": b"00  run.py\n"}, "says nothing"),
        ({"golden": b"a file that is a folder too"}, "as a file and as a folder"),
    ],
)
def test_other_files_than_listed(
    change: dict[str, bytes | None], words: str, whole: bytes, tmp_path: Path
) -> None:
    files = {**members(whole, tmp_path), **change}
    path = tmp_path / "changed.ekb"
    bundle_zip.write_zip(path, {name: data for name, data in files.items() if data is not None})
    assert words in refused(path)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("manifest.json", b"edgekit-bundle/1", b"edgekit-bundle/2", "update|schema"),
        ("manifest.json", b'"tflite"', b'"keras"', "of the unknown format 'keras'"),
        ("manifest.json", b'"labels"', b'"lables"', "unknown key 'lables'"),
        ("manifest.json", b"golden/input_0.npy", b"golden/input_9.npy", "of its manifest"),
        ("manifest.json", b'"sha256": "', b'"sha256": "0', "is no digest"),
        ("preprocess.json", b'"offset"', b'"ofset"', "unknown key 'ofset'"),
        ("model.tflite", b"TFL3", b"TFL9", "is not the one of its manifest"),
    ],
)
def test_forged_content_with_sums_that_fit(
    name: str, old: bytes, new: bytes, words: str, whole: bytes, tmp_path: Path
) -> None:
    files = members(whole, tmp_path)
    assert old in files[name]
    path = tmp_path / "forged.ekb"
    bundle_zip.write_zip(path, with_sums({**files, name: files[name].replace(old, new)}))
    assert any(word in refused(path) for word in words.split("|"))


def test_a_model_whose_digest_is_another(whole: bytes, tmp_path: Path) -> None:
    files = members(whole, tmp_path)
    own = Manifest.from_json(files["manifest.json"], where="m")
    wrong = files["manifest.json"].replace(
        b'"digest": "' + own.model.digest.encode(), b'"digest": "' + b"0" * 64, 1
    )
    path = tmp_path / "forged.ekb"
    bundle_zip.write_zip(path, with_sums({**files, "manifest.json": wrong}))
    assert "is not the one of its manifest" in refused(path)


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a\\..\\evil", "C:/evil", "a//b", "./a", "link name"]
)
def test_names_that_escape(name: str, tmp_path: Path) -> None:
    path = tmp_path / "slip.ekb"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, b"evil")
    assert "no name of a file inside a folder" in refused(path)
    assert not (tmp_path.parent / "evil").exists()


def entry(path: Path, **values: int) -> Path:
    """A zip of one file whose entry is changed; the bytes of the content stay."""
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("run.py")
        info.external_attr = values.get("attributes", 0)
        archive.writestr(info, b"../../secret")
    return path


def test_links_are_no_files(tmp_path: Path) -> None:
    path = entry(tmp_path / "link.ekb", attributes=(stat.S_IFLNK | 0o777) << 16)
    assert "is a link or no file" in refused(path)


def patched(path: Path, data: bytes, offset: int, new: bytes) -> Path:
    """Changes bytes of the first entry of the directory."""
    start = data.index(b"PK\1\2") + offset
    path.write_bytes(data[:start] + new + data[start + len(new) :])
    return path


def test_encrypted_and_unknown_compression(tmp_path: Path) -> None:
    data = entry(tmp_path / "plain.ekb").read_bytes()
    assert "is encrypted" in refused(patched(tmp_path / "e.ekb", data, 8, b"\1\0"))
    assert "in an unknown way" in refused(patched(tmp_path / "c.ekb", data, 10, b"\x63\0"))


def test_a_size_that_lies(tmp_path: Path) -> None:
    data = entry(tmp_path / "plain.ekb").read_bytes()
    short = patched(tmp_path / "short.ekb", data, 24, struct.pack("<I", 5))
    assert "damaged" in refused(short)
    long = patched(tmp_path / "long.ekb", data, 24, struct.pack("<I", 50_000_000))
    assert "another size than it declares" in refused(long) or "damaged" in refused(long)


def test_an_offset_before_its_beginning(whole: bytes, tmp_path: Path) -> None:
    path = patched(tmp_path / "offset.ekb", whole, 42, struct.pack("<I", 0))
    end = whole.rindex(b"PK\5\6")
    data = whole[: end + 16] + struct.pack("<I", 2**31) + whole[end + 20 :]
    path.write_bytes(data)
    assert "is damaged" in refused(path)


def test_a_full_disk(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.ekb"
    path.write_bytes(whole)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("edgekit.engine.bundle_zip._copy", full)
    with pytest.raises(UsageError, match="EDGEKIT_CACHE.*no space left"):
        open_bundle(path)
    assert not list((cache_root() / "scratch").iterdir())


def test_twice_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "twice.ekb"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("run.py", b"good")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("run.py", b"evil")
    assert "twice" in refused(path)


def test_too_many_files(tmp_path: Path) -> None:
    path = tmp_path / "many.ekb"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(65):
            archive.writestr(f"f{number}", b"")
    assert "more than 64 files" in refused(path)


def test_a_directory_of_any_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "zip64.ekb"
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 2**40, 0)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, 0, 1)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 60, 0, 0)
    path.write_bytes(b"PK" + record + locator + end)
    assert "more than 64 files" in refused(path)
    path.write_bytes(b"PK" + bytes(10) + locator + end)
    assert "not at its end" in refused(path)


def test_a_zip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "bomb.ekb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.tflite", bytes(70_000_000))
    assert path.stat().st_size < 100_000
    assert "would unpack to 70,000,000 bytes" in refused(path)


def test_a_bundle_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "sparse.ekb"
    path.touch()
    os.truncate(path, bundle_zip.MOST_BYTES + 1)
    assert "larger than any bundle" in refused(path)


def test_golden_files_that_lie(whole: bytes, tmp_path: Path) -> None:
    files = members(whole, tmp_path)
    name = "golden/input_0.npy"
    tries = [
        (b"no array", "is no array of numbers"),
        (files[name].replace(b"float32", b"float16").replace(b"<f4", b"<i4"), "the manifest says"),
        (files[name].replace(b"(8,", b"(4,"), "the manifest says"),
        (files[name].replace(b"'<f4'", b"'|O' "), "is no array of numbers"),
    ]
    for position, (data, words) in enumerate(tries):
        path = tmp_path / f"golden{position}.ekb"
        bundle_zip.write_zip(path, with_sums({**files, name: data}))
        with pytest.raises(UsageError, match=words):
            open_bundle(path).golden()

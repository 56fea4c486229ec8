"""The native runner's SHA-256 and parsers, on good and hostile files, under sanitizers."""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_runner import SANITIZED, SOURCES, compiler, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_DRIVER = r"""
#include "runner.h"
#include <stdlib.h>
#include <string.h>
int main(int count, char **words) {
  const char *what = words[1];
  char hex[65];
  if (!strcmp(what, "sha")) {
    for (int i = 2; i < count; i++) {
      sha256_file(words[i], hex);
      printf("%s\n", hex);
    }
  } else if (!strcmp(what, "npy")) {
    struct array array = npy_read(words[2]);
    char shape[128];
    shape_text(shape, array.dims, array.rank);
    printf("%s %s", DTYPE[array.dtype].name, shape);
    for (size_t i = 0; i < array.values; i++)
      printf(" %.9g", value_at(array.data, array.dtype, i));
    if (count > 3) npy_write(words[3], &array);
    free(array.data);
  } else {
    struct golden golden = golden_read(words[2]);
    printf("%s %s %zu %g %g", golden.model, golden.kernels, golden.threads, golden.xnnpack.lsb,
           golden.builtin.relative);
    for (size_t i = 0; i < golden.inputs; i++)
      printf(" <%s|%s>", golden.input[i].file, golden.input[i].name);
    for (size_t i = 0; i < golden.outputs; i++)
      printf(" [%s|%s]", golden.output[i].file, golden.output[i].name);
    if (count > 3) printf(" %zu files", check_digests(words[3], &golden));
  }
  fflush(stdout);
  _Exit(0);
}
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("driver")
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    (folder / "driver.c").write_text(_DRIVER)
    sources = [folder / f"{name}.c" for name in ("driver", "sha256", "npy", "golden", "common")]
    words = [compiler(), "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-pedantic"]
    words += [*SANITIZED.split(), "-o", str(folder / "driver"), *map(str, sources)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "cannot find -lasan" in done.stderr or "libasan" in done.stderr:
        pytest.skip("gcc has no sanitizers here")
    assert done.returncode == 0, done.stderr
    return [folder / "driver"]


def refused(driver: list[Path], what: str, path: Path) -> str:
    """The error's sentence without the path; a sanitizer's report is no such sentence."""
    code, out, error = run(driver, what, path)
    assert (code, out) == (2, ""), error
    assert error.startswith(f"error: {path}: "), error
    assert error.count("\n") == 1, error
    return error.removeprefix(f"error: {path}: ").rstrip("\n")


def test_sha256_is_hashlibs_at_every_length_around_its_blocks(
    driver: list[Path], tmp_path: Path
) -> None:
    content = np.random.default_rng(0).integers(0, 256, 70_000, np.uint8).tobytes()
    lengths = [*range(200), 16383, 16384, 16385, 65535, 65536, 70_000]
    files = [tmp_path / str(length) for length in lengths]
    for file, length in zip(files, lengths, strict=True):
        file.write_bytes(content[:length])
    code, out, _ = run(driver, "sha", *files)
    assert code == 0
    assert out.split() == [hashlib.sha256(content[:length]).hexdigest() for length in lengths]


# .npy


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "int16", "int32", "int64"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 2, 1, 3)])
def test_npy_values_go_in_and_out_unchanged(
    driver: list[Path], tmp_path: Path, dtype: str, shape: tuple[int, ...]
) -> None:
    array = (np.arange(np.prod(shape, dtype=int)).reshape(shape) * -3 + 5).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    code, out, error = run(driver, "npy", tmp_path / "a.npy", tmp_path / "b.npy")
    assert code == 0, error
    text = "x".join(map(str, shape)) or "one value"
    assert out.startswith(f"{dtype} {text} ")
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00", length: int = -1) -> bytes:
    size = struct.pack("<H" if version[0] == 1 else "<I", len(header) if length < 0 else length)
    return b"\x93NUMPY" + version + size + header.encode("latin1") + data


GOOD = "{'descr': '|i1', 'fortran_order': False, 'shape': (2,), }\n"


def shaped(shape: str, descr: str = "|i1") -> bytes:
    return npy(GOOD.replace("(2,)", shape).replace("|i1", descr), b"ab")


@pytest.mark.parametrize(
    "content",
    [
        npy(GOOD, b"ab"),
        npy(GOOD, b"ab", version=b"\x02\x00"),
        npy("{ 'shape': (2,),'descr':'|i1', 'fortran_order': False}   \n", b"ab"),
        shaped("(2,1)"),
        shaped("( 1, 2, )"),
    ],
)
def test_other_ways_to_write_a_good_header(
    driver: list[Path], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    code, out, error = run(driver, "npy", tmp_path / "a.npy")
    assert code == 0, error
    assert out.endswith(" 97 98")


_MALFORMED = "its .npy header is malformed"
_DTYPE = "its dtype is not one of float32, int8, uint8, int16, int32, int64"
_OTHER = "has 2 bytes of values, its shape says another number"
_NOT_NPY = "is not a .npy file of version 1.0 or 2.0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", _NOT_NPY),
        (b"\x93NUMPY\x01\x00\x01", _NOT_NPY),
        (b"\x93NUMPY\x02\x00\x01\x00\x00", _NOT_NPY),
        (b"PK\x03\x04" + bytes(40), _NOT_NPY),
        (npy(GOOD, b"ab", version=b"\x03\x00"), _NOT_NPY),
        (npy(GOOD, b"ab", version=b"\x01\x01"), _NOT_NPY),
        (npy(GOOD, b"", length=len(GOOD) + 1), "is cut off in its header"),
        (npy(GOOD, b"", b"\x02\x00", 2**32 - 1), "is cut off in its header"),
        (npy(GOOD[:-1], b"ab"), _MALFORMED),
        (npy(GOOD.replace("}", "} x"), b"ab"), _MALFORMED),
        (npy(GOOD.replace("}", "\0"), b"ab"), _MALFORMED),
        (npy("{}\n", b"ab"), _MALFORMED),
        (npy("\n", b"ab"), _MALFORMED),
        (npy(GOOD.replace("'shape': (2,), ", ""), b"ab"), _MALFORMED),
        (npy(GOOD.replace("'fortran_order': False, ", ""), b"ab"), _MALFORMED),
        (npy(GOOD.replace("}", "'shape': (2,)}"), b"ab"), _MALFORMED),
        (npy(GOOD.replace("}", "'other': 1}"), b"ab"), _MALFORMED),
        (npy(GOOD.replace("False,", "False"), b"ab"), _MALFORMED),
        (npy(GOOD.replace("False", "True"), b"ab"), "is in Fortran order"),
        (shaped("2"), _MALFORMED),
        (shaped("(2)"), _MALFORMED),
        (shaped("(2"), _MALFORMED),
        (shaped("(,)"), _MALFORMED),
        (shaped("(-2,)"), _MALFORMED),
        (shaped("(02,)"), _MALFORMED),
        (shaped("(2.0,)"), _MALFORMED),
        (shaped("(1, 1, 1, 1, 1, 1, 1, 1, 2)"), _MALFORMED),
        (shaped("(99999999999999999999999999,)"), _MALFORMED),
        (shaped("(18446744073709551618,)"), _MALFORMED),
        (shaped("(4294967296, 4294967296)"), _OTHER),
        (shaped("(4611686018427387904, 4)"), _OTHER),
        (shaped("(4611686018427387905,)", "<i4"), _OTHER),
        (shaped("(3,)"), _OTHER),
        (shaped("(1,)"), _OTHER),
        (shaped("(0, 2)"), _OTHER),
        (shaped("(2,)", "|b1"), _DTYPE),
        (shaped("(2,)", "|O"), _DTYPE),
        (shaped("(2,)", ">i2"), _DTYPE),
        (shaped("(2,)", "<f8"), _DTYPE),
    ],
)
def test_a_malformed_npy_is_refused(
    driver: list[Path], tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    assert refused(driver, "npy", path).startswith(message)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.integers(0, 200),
    at=st.integers(0, 140),
    byte=st.integers(0, 255),
)
def test_a_damaged_npy_is_read_or_refused_and_never_read_past_its_end(
    driver: list[Path], tmp_path: Path, cut: int, at: int, byte: int
) -> None:
    np.save(tmp_path / "h.npy", np.arange(12, dtype=np.int16).reshape(3, 4))
    content = bytearray((tmp_path / "h.npy").read_bytes())
    content[at] = byte
    (tmp_path / "h.npy").write_bytes(content[: len(content) - max(cut - 100, 0)])
    code, _, error = run(driver, "npy", tmp_path / "h.npy")
    assert code == 0 or (code == 2 and error.count("\n") == 1), error


def test_what_is_no_file_is_refused_and_does_not_block(driver: list[Path], tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    assert refused(driver, "npy", tmp_path / "pipe") == "is not a file"
    assert refused(driver, "npy", tmp_path) == "is not a file"
    assert refused(driver, "npy", tmp_path / "no") == "No such file or directory"


def test_a_result_that_cannot_be_written_leaves_nothing(driver: list[Path], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3, np.int8))
    (tmp_path / "b").mkdir()
    code, _, error = run(driver, "npy", tmp_path / "a.npy", tmp_path / "b")
    assert (code, error) == (2, f"error: {tmp_path / 'b'}: cannot be written\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "b"]


# golden.txt

TEXT = """edgekit-golden/1
model model.tflite
kernels xnnpack
threads 2
tolerance xnnpack lsb 2 relative 0.0001
tolerance builtin lsb 0 relative 1e-05
machine aarch64
# a remark
input golden/input_0.npy serving default:0
output golden/output_0.npy
"""


def test_golden_text_is_read(driver: list[Path], tmp_path: Path) -> None:
    (tmp_path / "golden.txt").write_text(TEXT)
    code, out, error = run(driver, "golden", tmp_path / "golden.txt")
    assert (code, error) == (0, "")
    assert out == (
        "model.tflite xnnpack 2 2 1e-05 <golden/input_0.npy|serving default:0> "
        "[golden/output_0.npy|]"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (TEXT, "", "line 1 is not 'edgekit-golden/1'"),
        ("golden/1\n", "golden/2\n", "line 1 is not 'edgekit-golden/1'"),
        ("# a", "a", "line 8 is malformed or there twice"),
        ("# a remark", "", "line 8 is malformed or there twice"),
        ("model model.tflite\n", "", "line 9 is the last, and one of"),
        ("kernels xnnpack\n", "", "line 9 is the last, and one of"),
        ("threads 2\n", "", "line 9 is the last, and one of"),
        ("tolerance builtin lsb 0 relative 1e-05\n", "", "line 9 is the last, and the tolerance"),
        ("model model.tflite\n", "model a\nmodel b\n", "line 3 is malformed"),
        ("model model.tflite", "model /etc/passwd", "line 2 is malformed"),
        ("model model.tflite", "model ../m", "line 2 is malformed"),
        ("model model.tflite", "model ", "line 2 is malformed"),
        ("kernels xnnpack", "kernels reference", "line 3 is malformed"),
        ("threads 2", "threads 0", "line 4 is malformed"),
        ("threads 2", "threads 65", "line 4 is malformed"),
        ("threads 2", "threads 2 ", "line 4 is malformed"),
        ("threads 2", "threads -1", "line 4 is malformed"),
        ("tolerance builtin", "tolerance xnnpack", "line 6 is malformed"),
        ("tolerance builtin", "tolerance delegate", "line 6 is malformed"),
        ("lsb 2", "lsb 65536", "line 5 is malformed"),
        ("lsb 2", "2", "line 5 is malformed"),
        ("relative 0.0001", "relative", "line 5 is malformed"),
        ("relative 0.0001", "relative inf", "line 5 is malformed"),
        ("relative 0.0001", "relative nan", "line 5 is malformed"),
        ("relative 0.0001", "relative 1e999", "line 5 is malformed"),
        ("relative 0.0001", "relative -1", "line 5 is malformed"),
        ("relative 0.0001", "relative 1e", "line 5 is malformed"),
        ("input golden", "input ../golden", "line 9 is malformed"),
        ("golden/output_0.npy\n", "golden/output_0.npy", "line 10 is cut off"),
        ("machine aarch64\n", "machine a\n" * 9, "line 15 is malformed"),
        ("# a remark\n", "input a b\n" * 65, "line 72 is malformed"),
        ("a remark", "a \0 remark", "is not a text file"),
        ("a remark", "a" * 2**20, "has 1048806 bytes, 1048576 are the most"),
    ],
)
def test_a_malformed_golden_text_is_refused(
    driver: list[Path], tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in TEXT
    path = tmp_path / "golden.txt"
    path.write_text(TEXT.replace(old, new, 1))
    assert refused(driver, "golden", path).startswith(message)


# SHA256SUMS


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A bundle of four files with their digests."""
    for name in ("golden", "c"):
        (tmp_path / name).mkdir()
    content = {
        "c/golden.txt": TEXT,
        "golden/input_0.npy": "i",
        "golden/output_0.npy": "o",
        "model.tflite": "m",
    }
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    lines = [f"{hashlib.sha256(t.encode()).hexdigest()}  {n}\n" for n, t in content.items()]
    (tmp_path / "SHA256SUMS").write_text("".join(lines))
    return tmp_path


def digests(driver: list[Path], folder: Path) -> tuple[int, str, str]:
    code, out, error = run(driver, "golden", folder / "c/golden.txt", folder)
    return code, out.rpartition("] ")[2], error.replace(f"{folder}/", "")


def test_whole_files_are_counted(driver: list[Path], sealed: Path) -> None:
    assert digests(driver, sealed) == (0, "4 files", "")


def test_a_changed_byte_is_found(driver: list[Path], sealed: Path) -> None:
    (sealed / "model.tflite").write_text("n")
    code, _, error = digests(driver, sealed)
    assert (code, error[:41]) == (2, "error: model.tflite: is damaged: its SHA-")


@pytest.mark.parametrize("name", ["c/golden.txt", "golden/input_0.npy", "model.tflite"])
def test_a_file_without_a_digest_is_refused(driver: list[Path], sealed: Path, name: str) -> None:
    sums = sealed / "SHA256SUMS"
    sums.write_text("".join(li for li in sums.read_text().splitlines(True) if name not in li))
    code, _, error = digests(driver, sealed)
    assert (code, error) == (
        2,
        f"error: SHA256SUMS: does not list {name}, so nothing says whether it is whole\n",
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  model.tflite", "  ../model.tflite", "SHA256SUMS: line 4 is not a SHA-256"),
        ("  model.tflite", " *model.tflite", "SHA256SUMS: line 4 is not a SHA-256"),
        ("  model.tflite", "  a/b/c/d/e", "SHA256SUMS: line 4 is not a SHA-256"),
        ("  model.tflite", "  c/./golden.txt", "SHA256SUMS: line 4 is not a SHA-256"),
        ("  model.tflite", "", "SHA256SUMS: line 4 is not a SHA-256"),
        ("model.tflite\n", "model.tflite", "SHA256SUMS: line 4 is cut off"),
        ("  model.tflite", "  missing", "missing: No such file or directory"),
    ],
)
def test_malformed_digests_are_refused(
    driver: list[Path], sealed: Path, old: str, new: str, message: str
) -> None:
    sums = sealed / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(old, new))
    code, _, error = digests(driver, sealed)
    assert code == 2
    assert error.startswith(f"error: {message}"), error

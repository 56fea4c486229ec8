"""What --delegate and --strict must not be, said before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import edgekit

LIBRARY = ("--delegate", "/nowhere/libx.so")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bench",), "--delegate '/nowhere/libx.so': no such file"),
        (("inspect", "--target", "delegate"), "'/nowhere/libx.so': no such file"),
        (("inspect",), "--delegate and --strict say something of a target: --target T"),
        (("validate", "--data", "digits"), "'/nowhere/libx.so': no such file"),
        (("validate", "--targets", "cpu-litert"), "--delegate and --targets: give one"),
        (("compress", "--recipe", "float32", "--target", "null", "--out"), "takes delegates"),
        (("bundle", "--strict", "--out"), "'/nowhere/libx.so': no such file"),
    ],
)
def test_a_library_that_is_none(
    tiny_float: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    command, *rest = words
    out = [tmp_path / "out.ekb"] if rest[-1:] == ["--out"] else []
    found = edgekit(command, tiny_float, *rest, *out, *LIBRARY)
    assert (found.code, found.out) == (2, "")
    assert said in found.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["bench", "inspect"])
def test_the_target_that_waits_for_a_library(tiny_float: Path, command: str) -> None:
    found = edgekit(command, tiny_float, "--target", "delegate")
    assert (found.code, found.out) == (2, "")
    assert found.err == (
        "error: target 'delegate' needs the library of a delegate\n"
        'hint: --delegate LIB.so[:KEY=VALUE,...], or a target file with inherit = "delegate" and '
        "[[delegate]]\n"
    )


def test_strict_without_anything_to_hold(tiny_float: Path) -> None:
    found = edgekit("bench", tiny_float, "--strict")
    assert (found.code, found.out) == (2, "")
    assert "--strict: target 'cpu-litert' has no delegate" in found.err
    found = edgekit("compare", tiny_float, tiny_float, "--strict")
    assert "--strict: target 'cpu-litert' has no delegate" in found.err


@pytest.mark.parametrize("words", [LIBRARY, ("--strict",)])
def test_a_bundle_that_is_made_already_is_not_changed(
    tiny_float: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    made = tmp_path / "a.ekb"
    assert edgekit("bundle", tiny_float, "--out", made, *LIBRARY).code == 0, "it is the device's"
    found = edgekit("bundle", made, "--to-folder", tmp_path / "f", *words)
    assert found.code == 2
    assert f"{words[0]} changes nothing in a bundle that is made already" in found.err


def test_a_bundle_says_what_fell_back_on_the_device(tiny_float: Path, tmp_path: Path) -> None:
    made = tmp_path / "a.ekb"
    edgekit("bundle", tiny_float, "--out", made)
    found = edgekit("bundle", made, "--on", "this-machine", *LIBRARY)
    assert (found.code, found.err) == (0, "")
    assert "  fell back libx.so: " in found.out
    strict = edgekit("bundle", made, "--on", "this-machine", *LIBRARY, "--strict")
    assert strict.code == 1
    assert "FAILED  runtime: libx.so: " in strict.out


def test_onnx_runtime_s_providers_are_names(tmp_path: Path) -> None:
    from onnx_models import cnn

    path = cnn(tmp_path / "m.onnx")
    found = edgekit("inspect", path, "--target", "cpu-onnxruntime", "--delegate", "NoSuch")
    assert found.code == 0
    assert "  fell back   NoSuch: " in found.out
    found = edgekit(
        "inspect", path, "--target", "cpu-onnxruntime", "--delegate", "NoSuch", "--strict"
    )
    assert found.code == 1
    assert "cannot run  --strict: NoSuch fails: " in found.out

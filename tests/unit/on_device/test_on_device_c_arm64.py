"""The native runner cross-compiled for arm64, with the real arm64 libLiteRt.so under qemu-user."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from c_runner import Bundle, build, compiler, int8_model, python_outputs, run, stored

from edgekit.devices import _qemu
from edgekit.frameworks.files import cache_root

# At import: the fixture that gives every test a cache of its own comes later.
_SYSROOTS = cache_root() / "sysroots"
_CPU = "cortex-a76"


@pytest.fixture(scope="module")
def library() -> Path:
    """libLiteRt.so of a system that `edgekit doctor` made for an emulated board."""
    if problem := _qemu.problem("aarch64", _CPU):
        pytest.skip(problem)
    whole = [path.parent for path in sorted(_SYSROOTS.glob("aarch64-*/edgekit.json"))]
    name = "root/usr/local/lib/python3*/dist-packages/ai_edge_litert/libLiteRt.so"
    found = [file for folder in whole for file in folder.glob(name)]
    if not found:
        pytest.skip("no emulated arm64 system with ai-edge-litert is installed in edgekit's cache")
    return found[-1]


@pytest.fixture(scope="module")
def program(library: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words that run it."""
    folder = tmp_path_factory.mktemp("arm64") / "c"
    built = build(folder, compiler("aarch64-linux-gnu-gcc"), "-O2 -Werror", library.parent)
    system = next(p for p in library.parents if (p / "edgekit.json").is_file())
    return _qemu.command("aarch64", _CPU, system / _CPU, str(built))


def test_int8_outputs_on_arm64_are_those_of_x86_but_for_its_own_softmax(
    program: list[str], tmp_path: Path
) -> None:
    model = int8_model(tmp_path)
    images = stored(np.random.default_rng(0).random((8, 8, 8, 1), np.float32))
    expected = python_outputs(model, images)
    bundle = Bundle(tmp_path / "b", model, {"image": images}, expected, machines=["aarch64"])
    code, out, error = bundle.selftest(program)
    assert (code, error) == (0, ""), out
    # XNNPACK's ops are the same to the bit; SOFTMAX runs on built-in kernels, which differ there.
    assert re.search("output 'probs': ok: largest difference [01] LSB, 2 allowed; ", out), out
    bundle.manifest["target"]["machines"] = ["x86_64"]
    bundle.seal()
    code, _, error = bundle.selftest(program)
    assert code == 2
    assert "the bundle is for x86_64, this machine is aarch64" in error


def test_info_on_arm64(program: list[str], tiny_float: Path, library: Path) -> None:
    code, out, error = run(program, "info", "--model", tiny_float)
    assert (code, error) == (0, "")
    assert f"library: {library}\n" in out

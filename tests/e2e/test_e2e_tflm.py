"""TensorFlow Lite Micro itself, in its environment: what it computes, needs and refuses.

`edgekit doctor --target mcu-tflm --install` makes the environment.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_folder import int8_model
from support import edgekit

from edgekit.core.target import load_target
from edgekit.devices import environment
from edgekit.engine.device_session import DeviceSession, open_on_device
from edgekit.engine.models import describe
from edgekit.engine.open_model import open_model
from edgekit.runners import litert

_USERS_CACHE = os.environ.get("EDGEKIT_CACHE")
NAME = "mcu-tflm"


@pytest.fixture(autouse=True)
def _its_environment(_own_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own cache, where the environment is."""
    if _USERS_CACHE is None:
        monkeypatch.delenv("EDGEKIT_CACHE")
    else:
        monkeypatch.setenv("EDGEKIT_CACHE", _USERS_CACHE)
    target = load_target(NAME)
    assert target.device is not None
    if problem := environment.unavailable(target.device.options):
        pytest.skip(problem)


def opened(path: Path, target: str = NAME) -> DeviceSession:
    device = load_target(target).device
    assert device is not None
    files = {"model.tflite": path}
    signature = describe(open_model(path)).signature
    return open_on_device(device, files, format="tflite", signature=signature, options={})


@pytest.fixture
def int8(tmp_path: Path) -> Path:
    path = tmp_path / "int8.tflite"
    path.write_bytes(int8_model())
    return path


def test_int8_before_its_dense_layers_is_that_of_the_reference_kernels(int8: Path) -> None:
    """TFLM's FULLY_CONNECTED rounds twice: an LSB there, and a SOFTMAX makes it a few."""
    signature = describe(open_model(int8)).signature
    reference = litert.open(int8, signature, litert.Options(kernels="reference"))
    x = np.random.default_rng(0).integers(-128, 128, (50, 8, 8, 1)).astype(np.int8)
    session = opened(int8)
    try:
        (found,) = session.run((x,))
    finally:
        session.close()
    off = np.abs(found.astype(int) - reference.run((x,))[0].astype(int))
    assert off.max() <= 8
    assert (off > 0).mean() < 0.05


def test_its_values_are_those_of_the_reference_kernels(tiny_float: Path) -> None:
    signature = describe(open_model(tiny_float)).signature
    reference = litert.open(tiny_float, signature, litert.Options(kernels="reference"))
    x = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32)
    session = opened(tiny_float)
    try:
        (found,) = session.run((x,))
        memory, head, tail = session.figures()
        placed = session.placement()
    finally:
        session.close()
    np.testing.assert_allclose(found, reference.run((x,))[0], rtol=1e-6, atol=1e-7)
    assert [spec.name for spec in session.signature.inputs] == ["image"]
    assert 5000 < memory.value < 8000
    assert memory.value >= head.value + tail.value
    assert {op.where for op in placed.ops} == {"CPU"}


def test_bench_measures_its_arena_and_no_time(tiny_float: Path) -> None:
    done = edgekit("bench", tiny_float, "--target", NAME, "--json")
    found = json.loads(done.out)
    assert (done.code, done.err) == (3, ""), "the latency is not measured"
    assert found["latency"]["kind"] == "unmeasured"
    assert found["latency"]["reason"] == "a host interpreter: no timing of a microcontroller"
    assert found["memory"]["kind"] == "measured"
    assert 5000 < found["memory"]["peak_bytes"] < 8000


def test_a_bundle_proves_itself_there(tiny_float: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.ekb"
    made = edgekit("bundle", tiny_float, "--target", NAME, "--out", path)
    assert (made.code, made.err) == (0, "")
    done = edgekit("validate", path, "--targets", NAME, "--json")
    (row,) = json.loads(done.out)["rows"]
    assert (row["problem"], row["selftest"]) == ("", "")
    assert row["placement"] == {"CPU": 6}
    assert row["max_relative"] < 1e-5


def test_an_arena_that_is_too_small_says_what_is_needed(tiny_float: Path, tmp_path: Path) -> None:
    row = refused(tiny_float, tmp_path, '[options]\narena = "2 kB"\n')
    assert "arena 2000 bytes: is too small, the model needs 6" in row
    assert "arena = '6" in row


def test_an_op_that_it_lacks_is_named(tiny_float: Path, tmp_path: Path) -> None:
    path = tmp_path / "sign.tflite"
    path.write_bytes(with_sign(tiny_float))
    assert "TensorFlow Lite Micro does not run it: it has no op SIGN" in refused(path, tmp_path)


def with_sign(path: Path) -> bytes:
    """The model with a SIGN in place of its SOFTMAX: LiteRT has that op."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(path.read_bytes(), 0))
    last = model.subgraphs[0].operators[-1]
    last.builtinOptionsType, last.builtinOptions = 0, None
    code = model.operatorCodes[last.opcodeIndex]
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.SIGN, 127
    builder = flatbuffers.Builder(2**16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def refused(path: Path, folder: Path, own: str = "") -> str:
    target = folder / "own.toml"
    target.write_text(f'summary = "x"\ninherit = "{NAME}"\n{own}')
    done = edgekit("validate", path, "--targets", target, "--json")
    rows: list[dict[str, Any]] = json.loads(done.out)["rows"]
    assert done.code == 3
    return str(rows[0]["problem"])

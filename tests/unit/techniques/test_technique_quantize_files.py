"""Files of other tools: no signature, op codes of before 2020, weights in float16, big ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
from fake_work import FakeWork, artifact, run
from litert_quantizer.utils.tfl_flatbuffer_utils import read_model as read_object

from edgekit.frameworks.tflite import read_model
from edgekit.techniques.quantize import Parameters, tflite
from edgekit.techniques.quantize._opening import open_here

MakeWork = Callable[..., FakeWork]


def changed(source: Path, to: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a model with something else about it."""
    model = read_object(source.read_bytes())
    change(model)
    to.write_bytes(bytes(convert_object_to_bytearray(model)))
    return to


def quantized(work: FakeWork, **settings: Any) -> Path:
    parameters = Parameters(**settings)
    tflite.check(parameters, work.source, work)
    tflite.apply(parameters, work.source, work)
    tflite.verify(parameters, work.source, artifact(work.output), work)
    return work.output


def make_old(model: Any) -> None:
    """As the converter of 2019 wrote it: no signature, op codes in the old field only."""
    model.signatureDefs = None
    for code in model.operatorCodes:
        code.builtinCode = 0


def test_file_without_signature_and_with_old_op_codes(
    tiny_float: Path, tmp_path: Path, work_on: MakeWork
) -> None:
    old = changed(tiny_float, tmp_path / "old.tflite", make_old)
    work = work_on(old)
    made = work.describe(artifact(quantized(work, scheme="int8")))
    assert made.op_counts == work.describe(work.source).op_counts
    assert {d for op in made.ops for d in op.dtypes} == {"int8"}


@pytest.mark.parametrize("scheme", ["int8", "dynamic-int8"])
def test_half_weights_are_quantized_as_their_float_values(
    scheme: str, tiny_float: Path, tmp_path: Path, work_on: MakeWork
) -> None:
    work = work_on(tiny_float)
    direct = run(quantized(work, scheme=scheme), work.probes(8))[0]
    halves = quantized(work, scheme="float16").rename(tmp_path / "halves.tflite")
    made = quantized(work_on(halves), scheme=scheme)
    assert "float16" not in {t.dtype for t in read_model(made).subgraphs[0].tensors}
    np.testing.assert_allclose(run(made, work.probes(8))[0], direct, atol=0.01)


def test_weights_of_a_big_model_stay_inside_the_flatbuffer(
    tiny_float: Path, tmp_path: Path, work_on: MakeWork
) -> None:
    """litert-quantizer writes more than 256 kB of weights behind the tables; we do not."""

    def widen(model: Any) -> None:
        graph = model.subgraphs[0]
        dense = next(t for t in graph.tensors if list(t.shape) == [10, 128])
        logits = [t for t in graph.tensors if list(t.shape) == [1, 10]]
        rows = 3000
        weights = np.random.default_rng(0).normal(size=(rows, 128)).astype(np.float32)
        model.buffers[dense.buffer].data = weights.view(np.uint8).ravel()
        dense.shape = [rows, 128]
        for tensor in logits:
            tensor.shape = [1, rows]

    big = changed(tiny_float, tmp_path / "big.tflite", widen)
    made = quantized(work_on(big), scheme="int8")
    content = made.read_bytes()
    assert len(content) > 384_000
    model = read_object(content)
    assert all(not buffer.offset for buffer in model.buffers)
    from ai_edge_litert.schema_py_generated import Model

    root = Model.GetRootAs(content, 0)
    assert all(root.Buffers(i).Offset() == 0 for i in range(root.BuffersLength()))


def test_file_that_the_runtime_refuses_is_not_taken(tiny_float: Path) -> None:
    def cut(model: Any) -> None:
        model.subgraphs[0].operators[0].inputs = [0]

    model = read_object(tiny_float.read_bytes())
    cut(model)
    assert open_here(tiny_float.read_bytes()) == ""
    assert open_here(bytes(convert_object_to_bytearray(model))).startswith(
        "the runtime does not open the result (RuntimeError: "
    )


def test_tensorflow_is_never_imported(tiny_float: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fake_work import FakeWork, artifact;"
        "from edgekit.techniques.quantize import Parameters, tflite;"
        f"work = FakeWork(Path({str(tmp_path)!r}), artifact(Path({str(tiny_float)!r})));"
        "p = Parameters('int8', samples=4); tflite.apply(p, work.source, work);"
        "tflite.verify(p, work.source, artifact(work.output), work);"
        "print(sorted({'tensorflow', 'keras', 'tf_keras', 'jax', 'torch'} & set(sys.modules)))"
    )
    tests = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tests}:{tests.parent}"},
    )
    assert done.stdout.strip() == "[]"

"""The format tflite: sniff, check, digest, describe, scaling; never TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_models import run, small_tflite

from edgekit.core.artifact import InputScaling, TensorSpec
from edgekit.errors import UsageError
from edgekit.formats import tflite
from edgekit.formats._tflite_macs import count
from edgekit.frameworks.tflite import Operation, Tensor


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "m.tflite"
    file.write_bytes(small_tflite())
    return file


def test_sniff(path: Path, tmp_path: Path) -> None:
    assert tflite.sniff(path)
    assert not tflite.sniff(tmp_path)
    other = tmp_path / "other.tflite"
    other.write_bytes(b"text")
    assert not tflite.sniff(other)


def test_check_names_the_file(path: Path) -> None:
    tflite.check(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(UsageError, match=rf"^{path}: is cut off or damaged \("):
        tflite.check(path)


def test_describe(path: Path) -> None:
    description = tflite.describe(path)
    assert description.signature.inputs == (TensorSpec("image", (None, 8, 8, 1), "float32"),)
    assert description.signature.outputs == (TensorSpec("scores", (1, 3), "float32"),)
    assert [(op.kind, op.name, op.macs) for op in description.ops] == [
        ("CONV_2D", "net/conv/Relu", 8 * 8 * 4 * 9),
        ("RESHAPE", "net/flat/Reshape", None),
        ("FULLY_CONNECTED", "output", 3 * 256),
    ]
    assert {op.dtypes for op in description.ops} == {("float32",)}
    assert description.macs == 2304 + 768
    assert description.parameters == 36 + 4 + 768 + 3, "the shape constant is no parameter"
    assert description.weights[0].name == "net/conv/kernel"
    assert sum(size for _, size in description.bytes_by) == description.size_bytes
    assert (
        sum(weight.size_bytes for weight in description.weights)
        == dict(description.bytes_by)["weights"]
    )
    assert description.notes == ()


def test_names_of_tensors_where_there_is_no_signature(path: Path) -> None:
    path.write_bytes(small_tflite(signature=False))
    signature = tflite.describe(path).signature
    assert (signature.inputs[0].name, signature.outputs[0].name) == ("input", "output")


def test_a_custom_op_is_flagged_by_its_name(path: Path) -> None:
    path.write_bytes(small_tflite(custom=True))
    assert [op.kind for op in tflite.describe(path).ops if op.is_custom] == ["MyOp"]


def test_scaling_travels_and_changes_no_output(path: Path) -> None:
    assert tflite.read_scaling(path) is None
    before, value = tflite.digest(path), InputScaling((1 / 255,), (0.0,), 0, 255)
    tflite.write_scaling(path, value)
    assert tflite.read_scaling(path) == value
    assert tflite.digest(path) != before
    np.testing.assert_array_equal(run(path.read_bytes()), run(small_tflite()))
    assert [file.name for file in path.parent.iterdir()] == ["m.tflite"]


@pytest.mark.parametrize(
    ("kind", "shapes", "macs"),
    [
        ("DEPTHWISE_CONV_2D", ((1, 8, 8, 4), (1, 3, 3, 4), (4,), (1, 8, 8, 4)), 8 * 8 * 4 * 9),
        ("TRANSPOSE_CONV", ((4,), (6, 2, 2, 3), (1, 4, 4, 3), (1, 8, 8, 6)), 4 * 4 * 3 * 6 * 4),
        ("BATCH_MATMUL", ((2, 5, 7), (2, 7, 3), (2, 5, 3)), 2 * 5 * 3 * 7),
        ("CONV_3D", ((1, 4, 4, 4, 2), (2, 2, 2, 2, 3), (1, 3, 3, 3, 3)), 27 * 3 * 16),
        ("CONV_2D", ((1, 8, 8, 4), (6, 3, 3, 2), (6,), (1, 8, 8, 6)), 8 * 8 * 6 * 9 * 2),
        ("FULLY_CONNECTED", ((1, 5), (3,), (1, 3)), None),
        ("BATCH_MATMUL", ((2, 5, 7), (2, 7, 3), (3,)), None),
        ("ADD", ((1, 5), (1, 5), (1, 5)), None),
    ],
)
def test_macs(kind: str, shapes: tuple[tuple[int, ...], ...], macs: int | None) -> None:
    tensors = tuple(
        Tensor(i, f"t{i}", shape, shape, "float32", None, 0, 0) for i, shape in enumerate(shapes)
    )
    last = len(tensors) - 1
    assert count(Operation(0, kind, "", tuple(range(last)), (last,)), tensors) == macs


def test_nothing_of_tensorflow_is_imported(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgekit.formats import tflite as f; "
        "from edgekit.core.artifact import InputScaling; p = Path(sys.argv[1]); f.check(p); "
        "f.describe(p); f.digest(p); f.write_scaling(p, InputScaling()); f.read_scaling(p); "
        "print(sorted({'tensorflow', 'keras', 'tf_keras', 'onnx', 'jax'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"

"""The format ort: sniff, check, digest, describe, scaling."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_ort import onnx_model, save_ort

from edgekit.core.artifact import InputScaling, TensorSpec
from edgekit.errors import UsageError
from edgekit.formats import onnx as format_onnx
from edgekit.formats import ort as format_ort

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save_ort(onnx_model(), tmp_path / "m.ort")


def test_describe(path: Path) -> None:
    assert format_ort.sniff(path)
    assert not format_onnx.sniff(path)
    format_ort.check(path)
    found = format_ort.describe(path)
    assert found.signature.inputs == (TensorSpec("image", (None, 1, 8, 8), "float32"),)
    assert found.signature.outputs == (TensorSpec("scores", (None, 3), "float32"),)
    counts = {op.kind: op.macs for op in found.ops}
    assert counts["com.microsoft.FusedConv"] == 4 * 8 * 8 * 9
    assert counts["Gemm"] == 3 * 256
    assert {"If", "Neg", "Abs"} <= set(counts)
    assert not any(op.is_custom for op in found.ops)
    assert next(op for op in found.ops if op.kind == "Neg").dtypes == ("float32",)
    assert found.parameters == 36 + 768 + 3 + 1
    assert found.size_bytes == path.stat().st_size == sum(size for _, size in found.bytes_by)
    assert dict(found.bytes_by)["weights"] >= 4 * (36 + 768 + 3)
    assert len(found.facts) == 1
    assert "of the .ort format, opsets ai.onnx 17" in found.facts[0]
    assert format_ort.parts(path) == ()


def test_two_saves_of_one_model_have_the_same_digest(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]; "
        "from small_ort import onnx_model, save_ort; save_ort(onnx_model(), Path(sys.argv[1]))"
    )
    other = path.with_name("other.ort")
    subprocess.run([sys.executable, "-c", code, str(other), *sys.path], check=True)
    assert format_ort.digest(other) == format_ort.digest(path)


def test_scaling_travels(path: Path) -> None:
    import onnxruntime

    assert format_ort.read_scaling(path) is None
    value = InputScaling((0.5,), (-1.0,), low=0.0, high=255.0)
    format_ort.write_scaling(path, InputScaling((2.0,), (0.0,)))
    format_ort.write_scaling(path, value)
    assert format_ort.read_scaling(path) == value
    format_ort.check(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    assert set(properties) == {"labels", "edgekit"}
    assert properties["labels"] == "a,b,c"


def test_scaling_of_the_onnx_model_is_read(tmp_path: Path) -> None:
    model = onnx_model(scaling='{"scale": [0.5], "offset": [-1.0]}')
    assert format_ort.read_scaling(save_ort(model, tmp_path / "m.ort")) == InputScaling(
        (0.5,), (-1.0,)
    )
    broken = save_ort(onnx_model(scaling="{"), tmp_path / "b.ort")
    with pytest.raises(UsageError, match="the input scaling stored in it is damaged"):
        format_ort.read_scaling(broken)


def test_it_needs_no_package(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgekit.formats import ort as f; "
        "p = Path(sys.argv[1]); f.sniff(p); f.check(p); f.describe(p); f.digest(p); "
        "print(sorted({'onnx', 'onnxruntime', 'flatbuffers', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["[]"]

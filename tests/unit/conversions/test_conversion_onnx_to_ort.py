"""ONNX to .ort: equal outputs, the same bytes each time, nothing bound to this CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_work import FakeWork, artifact

from edgekit.conversions import onnx_to_ort
from edgekit.core.artifact import Artifact
from edgekit.errors import PromiseError, UsageError
from edgekit.formats import ort as format_ort
from edgekit.frameworks import ort_files

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "frameworks"))
from small_ort import onnx_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


class _Work(FakeWork):
    """Runs what ONNX Runtime runs."""

    def predict(self, artifact: Artifact, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            str(artifact.path), providers=["CPUExecutionProvider"]
        )
        names = [value.name for value in session.get_inputs()]
        return tuple(session.run(None, dict(zip(names, inputs, strict=True))))


@pytest.fixture
def work(tmp_path: Path) -> _Work:
    path = tmp_path / "m.onnx"
    onnx.save_model(onnx_model(scaling='{"scale": [0.5], "offset": [0.0]}'), str(path))
    (tmp_path / "work").mkdir()
    return _Work(tmp_path / "work", artifact(path, "onnx"), suffix=".ort")


def _convert(work: _Work, level: Any = "extended") -> Artifact:
    parameters = onnx_to_ort.Parameters(level)
    onnx_to_ort.check(parameters, work.source, work)
    onnx_to_ort.apply(parameters, work.source, work)
    result = artifact(work.output, "ort")
    onnx_to_ort.verify(parameters, work.source, result, work)
    return result


@pytest.mark.parametrize("level", ["basic", "extended", "all"])
def test_outputs_are_equal(work: _Work, level: str) -> None:
    result = _convert(work, level)
    (proof,) = work.noted("proven equal")
    assert proof.is_evidence
    assert proof.item == "1 output on 32 inputs"
    domains = {op.kind.rpartition(".")[0] for op in work.describe(result).ops}
    assert domains == ({""} if level == "basic" else {"", "com.microsoft"})
    assert [item.name for item in work.folder.iterdir()] == ["result.ort"]


def test_metadata_goes_along(work: _Work) -> None:
    result = _convert(work)
    found = format_ort.read_scaling(result.path)
    assert found is not None
    assert found.scale == (0.5,)
    assert ort_files.read(result.path).metadata["labels"] == "a,b,c"


@pytest.mark.parametrize("level", ["basic", "extended", "all"])
def test_another_process_writes_the_same_bytes(work: _Work, level: str) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[4:]; "
        "from fake_work import FakeWork, artifact; from edgekit.conversions import onnx_to_ort; "
        "work = FakeWork(Path(sys.argv[2]), artifact(Path(sys.argv[1]), 'onnx'), suffix='.ort'); "
        "onnx_to_ort.apply(onnx_to_ort.Parameters(sys.argv[3]), work.source, work)"
    )
    first = _convert(work, level).path.read_bytes()
    other = work.folder / "other"
    other.mkdir()
    subprocess.run(
        [sys.executable, "-c", code, str(work.source.path), str(other), level, *sys.path],
        check=True,
    )
    assert (other / "result.ort").read_bytes() == first


def _changed(work: _Work, result: Artifact, change: Any) -> None:
    root = ort_files.read(result.path).root
    change(root["model"]["graph"])
    ort_files.write(root, result.path)


def test_other_weights_break_the_promise(work: _Work) -> None:
    result = _convert(work)

    def halve(graph: Any) -> None:
        tensor = next(tensor for tensor in graph["initializers"] if tensor["name"] == "b")
        values = np.frombuffer(tensor["raw_data"], np.float32) + 1
        tensor["raw_data"] = memoryview(values.tobytes())

    _changed(work, result, halve)
    with pytest.raises(PromiseError, match="gives outputs that differ by") as caught:
        onnx_to_ort.verify(None, work.source, result, work)
    assert caught.value.hint == "convert with optimization=basic"


@pytest.mark.parametrize(("noise", "is_kept"), [(0.004, True), (0.001, False), (0.5, False)])
def test_rounding_that_the_model_itself_has_is_allowed(
    work: _Work, monkeypatch: pytest.MonkeyPatch, noise: float, is_kept: bool
) -> None:
    """Result and reference are 0.5 % apart; the model without optimisation is `noise` apart."""
    result = _convert(work)
    work.notes.clear()
    values = np.array([1.0, 0.5], np.float32)
    apart = {"m.onnx": 0.0, "result.ort": 0.005, "plain.ort": noise}
    monkeypatch.setattr(
        work, "predict", lambda artifact, inputs: (values * (1 + apart[artifact.path.name]),)
    )
    if is_kept:
        onnx_to_ort.verify(None, work.source, result, work)
        (note,) = work.noted("rounding")
        assert work.noted("equal but for rounding")
        assert not work.noted("proven equal")
        assert "without any optimisation they differ by 0.004" in note.reason
    else:
        with pytest.raises(PromiseError, match="differ by 0.005"):
            onnx_to_ort.verify(None, work.source, result, work)
    assert not (work.folder / "plain.ort").exists()


def test_a_lost_output_breaks_the_promise(work: _Work) -> None:
    result = _convert(work)
    _changed(work, result, lambda graph: graph["outputs"].clear())
    with pytest.raises(PromiseError, match="has the outputs none, and the ONNX model scores"):
        onnx_to_ort.verify(None, work.source, result, work)


def test_a_custom_op_is_named(work: _Work) -> None:
    model = onnx_model()
    model.opset_import.add(domain="my.own", version=1)
    model.graph.node.append(
        onnx.helper.make_node("Op", ["scores"], ["more"], name="n", domain="my.own")
    )
    onnx.save_model(model, str(work.source.path))
    with pytest.raises(UsageError, match=r"op 'my.own.Op' \(node 'n'\) is a custom op"):
        onnx_to_ort.check(None, work.source, work)
    with pytest.raises(UsageError, match="ONNX Runtime cannot convert it: ") as caught:
        onnx_to_ort.apply(None, work.source, work)
    assert "\n" not in caught.value.message
    assert ".cc" not in caught.value.message
    assert list(work.folder.iterdir()) == []


def test_weights_that_do_not_fit(work: _Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_to_ort, "_MOST_BYTES", 100)
    with pytest.raises(UsageError, match="do not fit into an .ort file"):
        onnx_to_ort.check(None, work.source, work)


def test_parameters() -> None:
    with pytest.raises(ValueError, match="optimization must be basic, extended, all, not 'fast'"):
        onnx_to_ort.Parameters("fast")  # type: ignore[arg-type]
    assert set(onnx_to_ort.versions()) == {"onnx", "onnxruntime"}

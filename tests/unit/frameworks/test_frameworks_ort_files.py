"""Files of ONNX Runtime's own format: read, written with the same bytes, and damaged."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_ort import onnx_model, save_ort

from edgekit.errors import UsageError
from edgekit.frameworks import _ort_schema, _ort_write, ort_files

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("ort") / "m.ort"
    return save_ort(onnx_model(), path).read_bytes()


@pytest.fixture
def path(made: bytes, tmp_path: Path) -> Path:
    file = tmp_path / "m.ort"
    file.write_bytes(made)
    return file


def _run(path: Path) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype(np.float32)
    return session.run(None, {"image": image})[0]


def _shuffled(value: Any, rng: random.Random) -> Any:
    """The same content with the lists that have no order in another one."""
    if isinstance(value, dict):
        return {
            key: rng.sample(found, len(found)) if key in _ort_schema._UNORDERED else found
            for key, found in ((key, _shuffled(item, rng)) for key, item in value.items())
        }
    return [_shuffled(item, rng) for item in value] if isinstance(value, list) else value


def test_what_is_read(path: Path) -> None:
    found = ort_files.read(path)
    assert ort_files.looks_like_ort(path)
    assert found.size_bytes == path.stat().st_size == sum(size for _, size in found.bytes_by)
    assert found.metadata == {"labels": "a,b,c"}
    assert len(found.graphs) == 3
    assert {tensor["name"] for tensor in found.tensors} >= {"k", "w", "b"}


def test_writing_gives_a_file_that_runs_alike(path: Path) -> None:
    before, digest = _run(path), ort_files.content_digest(ort_files.read(path))
    ort_files.write(ort_files.read(path).root, path)
    np.testing.assert_array_equal(_run(path), before)
    again = ort_files.read(path)
    assert ort_files.content_digest(again) == digest
    assert bytes(_ort_write.write(again.root)) == path.read_bytes()


def test_the_order_of_the_runtime_does_not_count(path: Path) -> None:
    found = ort_files.read(path)
    digest, data = ort_files.content_digest(found), bytes(_ort_write.write(found.root))
    for seed in range(3):
        shuffled = _ort_write.write(_shuffled(found.root, random.Random(seed)))
        assert bytes(shuffled) != data
        again = ort_files.parse(bytes(shuffled), where="m")
        assert ort_files.content_digest(again) == digest
        assert bytes(_ort_write.write(again.root)) == data


@pytest.mark.parametrize("change", ["weight", "attribute", "text", "shape", "float"])
def test_every_change_of_content_changes_the_digest(path: Path, change: str) -> None:
    found = ort_files.read(path)
    before = ort_files.content_digest(found)
    graph = found.model["graph"]
    if change == "weight":
        raw = bytearray(graph["initializers"][0]["raw_data"])
        raw[0] ^= 1
        graph["initializers"][0]["raw_data"] = memoryview(bytes(raw))
    elif change == "attribute":
        nodes = [node for node in graph["nodes"] if node["op_type"].endswith("Conv")]
        next(a for a in nodes[0]["attributes"] if a["name"] == "pads")["ints"][0] = 2
    elif change == "float":
        gemm = next(node for node in graph["nodes"] if node["op_type"] == "Gemm")
        gemm["attributes"][0]["f"] = float("nan")
    elif change == "text":
        found.model["metadata_props"][0]["value"] = "a,b"
    else:
        graph["initializers"][0]["dims"].append(1)
    assert ort_files.content_digest(found) != before


def _graph(root: Any) -> Any:
    return root["model"]["graph"]


_DAMAGE: dict[str, Any] = {
    "it has no graph in it": lambda root: root["model"].pop("graph"),
    "tensor 'b' has 12 bytes, and its shape takes 16": lambda root: _graph(root)["initializers"][
        0
    ].update(dims=[4]),
    "tensor 'b' has the shape [-3]": lambda root: _graph(root)["initializers"][0].update(dims=[-3]),
    "tensor 'b' has its values in another file": lambda root: _graph(root)["initializers"][
        0
    ].update(external_data_offset=0),
    "a type in it is of no known kind": lambda root: _graph(root)["node_args"][0]["type"].update(
        value_type=9
    ),
}


@pytest.mark.parametrize("message", _DAMAGE)
def test_damaged_content(path: Path, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = ort_files.read(path).root
    _DAMAGE[message](root)
    monkeypatch.setitem(_ort_schema.UNION, 9, "TensorTypeAndShape")
    path.write_bytes(_ort_write.write(root))
    monkeypatch.delitem(_ort_schema.UNION, 9)
    with pytest.raises(UsageError) as caught:
        ort_files.read(path)
    assert caught.value.message.startswith(f"{path}: is cut off or damaged ({message}")


def test_a_field_of_a_newer_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = _ort_schema.SCHEMA
    monkeypatch.setitem(schema, "StringStringEntry", schema["StringStringEntry"][:1])
    with pytest.raises(UsageError, match="fields that edgekit does not know"):
        ort_files.read(path)


def test_graphs_in_each_other_without_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ort_schema, "_MAX_DEPTH", 3)
    with pytest.raises(UsageError, match="lie in each other without end"):
        ort_files.read(path)


def test_what_is_no_ort_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = path.read_bytes()
    monkeypatch.setattr(ort_files, "_MOST_BYTES", 100)
    with pytest.raises(UsageError, match=f"has {len(data)} bytes, and an .ort file may have 100"):
        ort_files.read(path)
    monkeypatch.undo()
    path.write_bytes(b"")
    with pytest.raises(UsageError, match="the file is empty"):
        ort_files.read(path)
    path.write_bytes(b"0123TFL3")
    assert not ort_files.looks_like_ort(path)
    with pytest.raises(UsageError, match="is no .ort model"):
        ort_files.read(path)
    path.unlink()
    assert not ort_files.looks_like_ort(path)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        ort_files.read(path)


@given(cut=st.integers(8, 8000))
@settings(max_examples=40, deadline=None)
def test_cut_off(made: bytes, cut: int) -> None:
    with pytest.raises(UsageError, match="is cut off or damaged"):
        ort_files.parse(made[: cut % (len(made) - 60)].ljust(8, b"\0"), where="m")


@given(edits=st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), min_size=1, max_size=5))
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_bytes(made: bytes, edits: list[tuple[int, int]]) -> None:
    data = bytearray(made)
    for position, value in edits:
        data[position % len(data)] = value
    try:
        found = ort_files.parse(bytes(data), where="m")
        ort_files.content_digest(found)
        _ort_write.write(found.root)
    except UsageError as error:
        assert "\n" not in error.message

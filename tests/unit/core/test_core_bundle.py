"""The manifest and preprocess.json: read strictly, written the same each time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.bundle import Manifest, is_safe_name
from edgekit.core.front_end import FrontEnd
from edgekit.core.strict_json import parse_json
from edgekit.errors import UsageError

MANIFEST: dict[str, Any] = {
    "schema": "edgekit-bundle/1",
    "name": "lenet5",
    "made_by": "edgekit 0.1.0",
    "model": {
        "file": "model.tflite",
        "format": "tflite",
        "digest": "a" * 64,
        "sha256": "b" * 64,
        "size_bytes": 123,
        "parts": [],
    },
    "inputs": [
        {"name": "x", "shape": [None, 8], "dtype": "int8", "scale": 0.5, "zero_point": -128}
    ],
    "outputs": [
        {"name": "y", "shape": [1, 3], "dtype": "float32", "scale": None, "zero_point": None}
    ],
    "target": {
        "name": "pi",
        "machines": ["aarch64"],
        "threads": 1,
        "options": {"kernels": "xnnpack"},
        "runtimes": ["ai_edge_litert"],
        "delegates": [{"library": "libx.so", "options": {"k": "v"}}],
        "min_delegated": None,
    },
    "boards": [{"name": "Pi OS", "python": "3.11", "requires": ["numpy==1.24.2"]}],
    "preprocess": "preprocess.json",
    "labels": None,
    "golden": {
        "count": 8,
        "source": "random",
        "inputs": ["golden/input_0.npy"],
        "outputs": ["golden/output_0.npy"],
        "kernels": "reference",
        "made_with": "ai-edge-litert 2.3.0 on x86_64",
        "tolerance": {"xnnpack": {"lsb": 2, "relative": 0.1, "measured": None, "why": ""}},
    },
    "metrics": {
        "digest": "a" * 64,
        "accuracy": {"metric": "accuracy", "value": 1.0, "ci95": [0.9, 1.0], "n": 9},
        "latency": {"median_ns": 1, "where": "here"},
        "memory": None,
        "size_bytes": 123,
        "data": None,
    },
}
IMAGE = {"kind": "image", "height": 8, "width": 8, "channels": 1, "axes": "last"}
FRONT_END: dict[str, Any] = {
    "input": {**IMAGE, "resize": "pad", "order": "bgr", "is_assumed": True},
    "scaling": {"scale": [0.5], "offset": [0.0]},
    "output": {"kind": "classes", "activation": "none", "top_k": 5, "threshold": None},
}
TABLE = {"kind": "table", "columns": ["a", "b"], "mean": None, "std": None, "is_assumed": False}
AUDIO = {
    "kind": "audio", "sample_rate": 16000, "window_ms": 30.0, "stride_ms": 20.0, "fft": 512,
    "mels": 40, "low_hz": 20.0, "high_hz": 4000.0, "coefficients": 10, "log_floor": 1e-6,
    "seconds": 1.0, "axes": "last", "is_assumed": False,
}  # fmt: skip


def read(table: Any) -> Manifest:
    return Manifest.from_json(json.dumps(table).encode(), where="m")


def with_change(table: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(table)
    *above, last = path.split(".")
    inner = changed
    for key in above:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    inner[last] = value
    return changed


def test_a_manifest_comes_back_as_it_was_written() -> None:
    manifest = read(MANIFEST)
    assert json.loads(manifest.to_json()) == MANIFEST
    assert Manifest.from_json(manifest.to_json(), where="m") == manifest
    assert manifest.to_json().startswith(b'{\n "schema": "edgekit-bundle/1",\n')
    assert manifest.to_json().endswith(b"}\n")
    assert manifest.signature.inputs[0].shape == (None, 8)
    assert manifest.signature.inputs[0].quantization is not None
    assert manifest.signature.outputs[0].quantization is None
    assert "golden/output_0.npy" in manifest.names


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("schema", "edgekit-bundle/2", "has the schema edgekit-bundle/2"),
        ("schema", "other", "no manifest of edgekit's"),
        ("schema", 1, "no manifest of edgekit's"),
        ("surprise", 1, "unknown key 'surprise'"),
        ("model.digest", "A" * 64, "is no digest"),
        ("model.file", "../model.tflite", "no name of a file"),
        ("model.file", "a/model.tflite", "must lie at the top"),
        ("model.format", 3, "must be a text, not 3"),
        ("model.size_bytes", True, "must be a whole number, not True"),
        ("model.size_bytes", 2**70, "larger than any figure"),
        ("model.parts", "weights.bin", "must be a list"),
        ("inputs", [], "golden must have one file for each"),
        ("inputs.0.dtype", "object", "no type of a tensor"),
        ("inputs.0.shape", [-1], "is no shape"),
        ("inputs.0.zero_point", None, "go together"),
        ("inputs.0.scale", 0.0, "scale must be above 0"),
        ("inputs.0.name", "\ud800", "is no text"),
        ("target", [], "must be a table"),
        ("target.threads", 0, "threads must be"),
        ("target.min_delegated", 1.5, "min_delegated must be"),
        ("target.options", {"k": ["\udfff"]}, "is no text"),
        ("boards.0.python", "2.7", "python must be a version"),
        ("labels", "/etc/passwd", "no name of a file"),
        ("preprocess", None, "must be a text"),
        ("golden.count", 0, "count must be at least 1"),
        ("golden.tolerance", {"x": {"lsb": -1, "relative": 0}}, "cannot be negative"),
        ("golden.inputs", ["golden/../../x"], "no name of a file"),
        ("metrics.digest", "c" * 64, "those of another model"),
        ("metrics.accuracy.ci95", [1.0], "ci95 must be two"),
    ],
)
def test_a_wrong_manifest_is_one_sentence(path: str, value: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(with_change(MANIFEST, path, value))
    assert words in caught.value.message
    assert caught.value.message.startswith("m")


def test_a_missing_key_is_named() -> None:
    table = {key: value for key, value in MANIFEST.items() if key != "golden"}
    with pytest.raises(UsageError, match="the key 'golden' is missing"):
        read(table)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "not valid JSON"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": 1, "a": 2}', "stands there twice"),
        (b"\xff", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b" " * 4_000_001, "larger than 4 MB"),
    ],
)
def test_json_that_readers_differ_on_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_json(data, where="m")


def test_infinity_by_overflow_is_no_number() -> None:
    text = json.dumps(MANIFEST).replace('"relative": 0.1', '"relative": 1e999')
    with pytest.raises(UsageError, match="finite"):
        Manifest.from_json(text.encode(), where="m")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
PATHS = [
    *MANIFEST, "model.file", "model.parts", "inputs.0.shape", "target.options", "target.delegates",
    "boards.0.requires", "golden.tolerance", "golden.inputs", "metrics.accuracy", "metrics.data",
]  # fmt: skip


@given(path=st.sampled_from(PATHS), value=VALUES)
def test_any_value_anywhere_is_read_or_refused(path: str, value: Any) -> None:
    data = json.dumps(with_change(MANIFEST, path, value)).encode()
    try:
        manifest = Manifest.from_json(data, where="m")
    except UsageError:
        return
    assert Manifest.from_json(manifest.to_json(), where="m") == manifest


@pytest.mark.parametrize("name", ["a", "model.onnx.data", "golden/input_0.npy", "a/b/c/d"])
def test_names_that_stay_inside(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "..", ".", "a/../b", "/a", "a/", "a//b", "a\\b", "C:x", "a b", "a\n", "é"),
        *("a/b/c/d/e", "a" * 201, "a\0b"),
    ],
)
def test_names_that_do_not(name: str) -> None:
    assert not is_safe_name(name)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"input": TABLE},
        {"input": AUDIO},
        {"input": {"kind": "array", "is_assumed": False}},
        {"input": {**FRONT_END["input"], "levels": [0.0, 16.0]}},
        {"output": {"kind": "values", "activation": "none"}},
        {"output": {**FRONT_END["output"], "index": 1}},
        {"output": {"kind": "ctc", "blank": 0}},
        {
            "output": {
                "kind": "boxes",
                "order": ["boxes", "scores"],
                "form": "yxyx",
                "threshold": 0.5,
            }
        },
    ],
)
def test_a_front_end_comes_back_as_it_was_written(change: dict[str, Any]) -> None:
    table = {**FRONT_END, **change}
    front_end = FrontEnd.from_json(json.dumps(table).encode(), where="p")
    assert json.loads(front_end.to_json()) == table


@pytest.mark.parametrize(
    ("section", "value", "words"),
    [
        ("input", {**IMAGE, "channels": 4}, "channels must be 1 or 3"),
        ("input", {**IMAGE, "channels": 3, "axes": "none"}, "1 without an axis"),
        ("input", {**IMAGE, "height": 0}, "no image has 0 x 8"),
        ("input", {**IMAGE, "resize": "zoom"}, "unknown value 'zoom'"),
        ("input", {**IMAGE, "levels": [1.0, 0.0]}, "dark before bright"),
        ("input", {"kind": "smell"}, "unknown kind 'smell'"),
        ("input", {**TABLE, "columns": ["a", "a"]}, "each once"),
        ("input", {**TABLE, "mean": [1.0, 2.0]}, "go together"),
        ("input", {**TABLE, "mean": [1.0], "std": [1.0]}, "mean has 1 values for 2"),
        ("input", {**TABLE, "mean": [0.0, 0.0], "std": [1.0, 0.0]}, "std must be above 0"),
        ("input", {**AUDIO, "sample_rate": 1}, "sample_rate must be"),
        ("input", {**AUDIO, "high_hz": 9000.0}, "low_hz must be below"),
        ("input", {**AUDIO, "stride_ms": 0.0}, "must be above 0"),
        ("input", {**AUDIO, "fft": 256}, "fft must hold a window"),
        ("input", {**AUDIO, "coefficients": 41}, "at most as many"),
        ("input", {**AUDIO, "log_floor": 0.0}, "log_floor above 0"),
        ("scaling", {"scale": [0.0], "offset": [0.0]}, "scale must not be 0"),
        ("output", {"kind": "classes", "top_k": 0}, "top_k must be"),
        ("output", {"kind": "values", "index": -1}, "must not be negative"),
        ("output", {"kind": "ctc", "blank": -1}, "must not be negative"),
        ("output", {"kind": "boxes", "order": ["boxes"], "form": "xyxy"}, "boxes and scores"),
    ],
)
def test_a_wrong_front_end_is_one_sentence(section: str, value: Any, words: str) -> None:
    table = {**FRONT_END, section: value}
    with pytest.raises(UsageError, match=words):
        FrontEnd.from_json(json.dumps(table).encode(), where="p")


def test_what_is_no_table_is_no_manifest() -> None:
    swaps: list[Callable[[], Manifest]] = [
        lambda: read([]),
        lambda: read("text"),
        lambda: read(None),
    ]
    for swap in swaps:
        with pytest.raises(UsageError, match="no manifest of edgekit's"):
            swap()

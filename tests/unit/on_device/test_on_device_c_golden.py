"""golden.txt from a manifest."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.on_device.c_golden import golden_text


def manifest(**changes: Any) -> dict[str, Any]:
    """A manifest, with `part__key=value` changed."""
    allowed = {"lsb": 2, "relative": 1e-05}
    made: dict[str, Any] = {
        "model": {"file": "model.tflite", "format": "tflite"},
        "inputs": [{"name": "serving default:0"}],
        "outputs": [{"name": "a"}, {"name": "b"}],
        "target": {"machines": ["aarch64"], "threads": 2, "options": {"kernels": "xnnpack"}},
        "golden": {
            "inputs": ["golden/input_0.npy"],
            "outputs": ["golden/output_0.npy", "golden/output_1.npy"],
            "tolerance": {"xnnpack": allowed, "builtin": {"lsb": 0, "relative": 0}},
        },
    }
    for path, value in changes.items():
        part, _, key = path.partition("__")
        if key:
            made[part][key] = value
        else:
            made[part] = value
    return made


def test_every_part_of_the_manifest_has_its_line() -> None:
    assert golden_text(manifest()).splitlines() == [
        "edgekit-golden/1",
        "model model.tflite",
        "kernels xnnpack",
        "threads 2",
        "tolerance xnnpack lsb 2 relative 1e-05",
        "tolerance builtin lsb 0 relative 0.0",
        "machine aarch64",
        "input golden/input_0.npy serving default:0",
        "output golden/output_0.npy a",
        "output golden/output_1.npy b",
    ]


def test_reference_kernels_become_builtin_ones_and_it_says_so() -> None:
    lines = golden_text(manifest(target__options={"kernels": "reference"})).splitlines()
    assert lines[2:4] == [
        "# the target runs the kernels reference, which the C API does not have",
        "kernels builtin",
    ]


def test_without_kernels_the_runtimes_default_is_meant() -> None:
    assert "kernels xnnpack\n" in golden_text(manifest(target__options={}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model__format": "onnx"}, r"the C runner runs .tflite models, not 'onnx'"),
        ({"model__file": "a b"}, r"a name without spaces, not 'a b'"),
        ({"target__threads": 65}, r"a whole number from 1 to 64, not 65"),
        ({"target__threads": "two"}, r"a whole number from 1 to 64, not two"),
        ({"target__machines": ["m"] * 9}, r"at most 8 machines"),
        ({"inputs": [{"name": "a\nb"}]}, r"without control characters, not 'a\\nb'"),
        ({"inputs": []}, r"1 to 64 inputs, a golden file for each"),
        ({"outputs": [{"name": "a"}]}, r"1 to 64 outputs, a golden file for each"),
        (
            {
                "golden__tolerance": {
                    "xnnpack": {"lsb": 0, "relative": -1.0},
                    "builtin": {"lsb": 0, "relative": 0},
                }
            },
            r"the tolerance of xnnpack must be a number from 0, not -1.0",
        ),
    ],
)
def test_what_the_runner_cannot_run_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        golden_text(manifest(**change))

"""A whole network as generated C: answers, memory, names, and the text of the files."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcu_built import needs_gcc, same_as_reference
from mcu_models import Case, Op, T, case, write, write_cases

from edgekit.core.artifact import Quantization, TensorSpec
from edgekit.mcu.generate import generate


def weights(name: str, *shape: int, axis: int = 0) -> list[T]:
    rng = np.random.default_rng(shape)
    scales = rng.uniform(0.002, 0.01, shape[axis])
    values = rng.integers(-127, 128, shape)
    biases = rng.integers(-900, 900, shape[axis])
    return [
        T(f"{name}_w", shape, scales, values=values, axis=axis),
        T(f"{name}_b", (shape[axis],), dtype="int32", values=biases),
    ]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A net with a skip, as those that are deployed: 9 x 7 x 2 values to 4 classes."""
    tensors = [
        T("x", (1, 9, 7, 2), 0.04, -5),
        *weights("stem", 8, 3, 3, 2),
        T("stem", (1, 9, 7, 8), 0.06, -128),
        *weights("depth", 1, 3, 3, 8, axis=3),
        T("depth", (1, 9, 7, 8), 0.05, -128),
        *weights("point", 8, 1, 1, 8),
        T("point", (1, 9, 7, 8), 0.07, 3),
        T("sum", (1, 9, 7, 8), 0.08, -10),
        T("pooled", (1, 4, 3, 8), 0.08, -10),
        T("axes", (2,), dtype="int32", values=(1, 2)),
        T("mean", (1, 8), 0.05, -30),
        *weights("dense", 4, 8),
        T("logits", (1, 4), 0.12, 20),
        T("y", (1, 4), 1 / 256, -128),
    ]
    same = {"strideH": 1, "strideW": 1, "padding": 0, "fusedActivationFunction": 1}
    pool = {"strideH": 2, "strideW": 2, "padding": 1, "filterHeight": 2, "filterWidth": 2}
    ops = [
        Op("CONV_2D", ["x", "stem_w", "stem_b"], ["stem"], same, 3),
        Op("DEPTHWISE_CONV_2D", ["stem", "depth_w", "depth_b"], ["depth"], same, 3),
        Op("CONV_2D", ["depth", "point_w", "point_b"], ["point"], {**same, "padding": 1}, 3),
        Op("ADD", ["stem", "point"], ["sum"], version=2),
        Op("MAX_POOL_2D", ["sum"], ["pooled"], pool, 2),
        Op("MEAN", ["pooled", "axes"], ["mean"], version=2),
        Op("FULLY_CONNECTED", ["mean", "dense_w", "dense_b"], ["logits"], version=4),
        Op("SOFTMAX", ["logits"], ["y"], {"beta": 1.0}, version=2),
    ]
    return write(tmp_path / "net.tflite", tensors, ops, ["x"], "y", "logits")


@needs_gcc
def test_a_network_answers_as_the_reference_kernels(network: Path, tmp_path: Path) -> None:
    sources = same_as_reference(network, tmp_path / "c", count=300)
    assert sources.arena_bytes == 3 * 9 * 7 * 8, "stem stays while depth becomes point"
    assert sources.ops[0] == "CONV_2D"
    assert len(sources.ops) == 8


def test_specs_are_those_of_the_model(network: Path) -> None:
    sources = generate(network)
    scale = float(np.float32(0.04))
    assert sources.inputs == (TensorSpec("x", (1, 9, 7, 2), "int8", Quantization(scale, -5)),)
    assert [spec.name for spec in sources.outputs] == ["y", "logits"]


def test_files_and_what_the_header_says(network: Path) -> None:
    sources = generate(network)
    assert set(sources.files) == {
        *("ek_model.c", "ek_model.h", "ek_weights.c", "ek_weights.h", "ek_kernels.h"),
        *("ek_conv_2d.c", "ek_depthwise_conv_2d.c", "ek_fully_connected.c", "ek_arithmetic.c"),
        *("ek_pool_2d.c", "ek_mean.c", "ek_softmax.c"),
    }
    header = sources.files["ek_model.h"].decode()
    assert f"#define EK_ARENA_BYTES {sources.arena_bytes}\n" in header
    assert "#define EK_INPUT_COUNT 1\n" in header
    assert "#define EK_INPUT_0_BYTES 126\n" in header
    assert "#define EK_OUTPUT_1_ZERO_POINT (20)\n" in header
    (scale,) = re.findall(r"#define EK_INPUT_0_SCALE (\S+)f\n", header)
    assert np.float32(scale) == np.float32(0.04)


def test_generating_again_gives_the_same_bytes(network: Path) -> None:
    assert generate(network) == generate(network)


def test_constant_bytes_are_those_of_the_arrays(network: Path, tmp_path: Path) -> None:
    sources = generate(network)
    arrays = re.findall(r"const (\w+) \w+\[(\d+)\] = ", sources.files["ek_weights.c"].decode())
    width = {"int8_t": 1, "int32_t": 4, "double": 8}
    assert sources.constant_bytes == sum(width[kind] * int(count) for kind, count in arrays)


def test_equal_constants_are_stored_once(tmp_path: Path) -> None:
    x = T("x", (1, 4), 0.05)
    cases = [case("TANH", [x], T("y", (1, 4), 1 / 128))] * 3
    assert generate(write_cases(tmp_path / "m.tflite", cases)).constant_bytes == 256


def test_nothing_is_allocated_and_little_is_included(network: Path) -> None:
    text = b"".join(generate(network).files.values()).decode()
    assert set(re.findall(r"#include <(\S+)>", text)) <= {"stdint.h", "string.h"}
    assert not re.search(r"\b(malloc|calloc|free|printf|float)\b", text.replace("f\n", "\n"))


@pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None,
    reason="arm-none-eabi-gcc is not installed (tools/install_device_tools.sh)",
)
@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m4"])
def test_it_compiles_for_a_microcontroller(network: Path, tmp_path: Path, core: str) -> None:
    for name, content in generate(network).files.items():
        (tmp_path / name).write_bytes(content)
    names = sorted(path.name for path in tmp_path.glob("*.c"))
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-O1", "-c"]
    command = ["arm-none-eabi-gcc", f"-mcpu={core}", "-mthumb", *flags, *names]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    """A convolution of any geometry and scale; what its window leaves is at least one value."""
    height, width, filter_height, filter_width = (draw(st.integers(1, 6)) for _ in range(4))
    stride, dilation, padding = draw(st.integers(1, 3)), draw(st.integers(1, 3)), 0
    reach = ((filter_height - 1) * dilation + 1, (filter_width - 1) * dilation + 1)
    sides = [-(-side // stride) for side in (height, width)]
    if draw(st.booleans()) and reach[0] <= height and reach[1] <= width:
        padding = 1
        pairs = zip((height, width), reach, strict=True)
        sides = [(side - far) // stride + 1 for side, far in pairs]
    depth, count = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    depthwise = draw(st.booleans())
    shape = (
        (1, filter_height, filter_width, depth * count)
        if depthwise
        else (count, filter_height, filter_width, depth)
    )
    options: dict[str, Any] = {"padding": padding, "strideH": stride, "strideW": stride}
    options |= {"dilationHFactor": dilation, "dilationWFactor": dilation}
    tensors = weights("c", *shape, axis=3 if depthwise else 0)
    output_scale, zero_point = draw(st.floats(0.003, 0.5)), draw(st.integers(-128, 127))
    outputs = depth * count if depthwise else count
    return case(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        [T("x", (1, height, width, depth), 0.03, draw(st.integers(-128, 127))), *tensors],
        T("y", (1, *sides, outputs), output_scale, zero_point),
        fusedActivationFunction=draw(st.integers(0, 3)),
        **({"depthMultiplier": count} if depthwise else {}),
        **options,
    )


@needs_gcc
@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(convolutions(), min_size=20, max_size=20))
def test_convolutions_of_any_geometry(
    tmp_path_factory: pytest.TempPathFactory, cases: list[Case]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    same_as_reference(write_cases(folder / "m.tflite", cases), folder / "c", count=20)

"""Each op, as generated C built by the host's compiler, against LiteRT's reference kernels."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcu_built import needs_gcc, same_as_reference
from mcu_models import Case, Op, T, case, write, write_cases

pytestmark = needs_gcc

SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6 = 0, 1, 2, 3
SAMPLES = 80


def check(tmp_path: Path, cases: list[Case]) -> None:
    same_as_reference(write_cases(tmp_path / "m.tflite", cases), tmp_path / "c", count=SAMPLES)


def random(seed: int, *shape: int, low: int = -127, high: int = 128) -> Any:
    return np.random.default_rng(seed).integers(low, high, shape)


def image(height: int = 7, width: int = 6, depth: int = 3, **more: Any) -> T:
    return T("x", (1, height, width, depth), **{"scale": 0.047, "zero_point": -3, **more})


def weights(filters: Any, scales: Any, *, axis: int = 0) -> list[T]:
    count = filters.shape[axis]
    biases = random(9, count, low=-3000, high=3000)
    return [
        T("w", filters.shape, scales, values=filters, axis=axis),
        T("b", (count,), values=biases, dtype="int32"),
    ]


def whole(padding: int, stride: int, *reach: int) -> list[int]:
    """The sides of what a window makes of image()."""
    return [
        -(-side // stride) if padding == SAME else (side - far) // stride + 1
        for side, far in zip((7, 6), reach, strict=True)
    ]


def strides(stride: int, **more: Any) -> dict[str, Any]:
    return {"strideH": stride, "strideW": stride, **more}


def test_conv_2d(tmp_path: Path) -> None:
    scales = np.random.default_rng(4).uniform(0.001, 0.02, 5)
    tensors = [image(), *weights(random(1, 5, 3, 2, 3), scales)]
    cases = []
    for padding, activation, (stride, dilation) in product(
        (SAME, VALID), (NONE, RELU, RELU_N1_TO_1, RELU6), ((1, 1), (2, 1), (1, 2))
    ):
        sides = whole(padding, stride, 2 * dilation + 1, dilation + 1)
        options = {"dilationHFactor": dilation, "dilationWFactor": dilation, **strides(stride)}
        options |= {"padding": padding, "fusedActivationFunction": activation}
        cases.append(case("CONV_2D", tensors, T("y", (1, *sides, 5), 0.031, 5), **options))
    check(tmp_path, cases)


def test_conv_2d_with_groups_one_scale_and_two_samples_at_once(tmp_path: Path) -> None:
    tensors = weights(random(1, 6, 2, 2, 2), 0.004)
    cases = [
        case(
            "CONV_2D",
            [T("x", (2, 5, 5, 4), 0.05, 127), *tensors],
            T("y", (2, 3, 5, 6), 0.04, -128),
            padding=SAME,
            strideH=2,
            strideW=1,
        )
    ]
    check(tmp_path, cases)


def test_conv_2d_rounds_twice_at_every_scale(tmp_path: Path) -> None:
    """A 1 x 1 filter sends every sum through the multiplier; one rounding gives other answers."""
    filters = np.array([[[[1]]], [[[2]]], [[[-3]]], [[[127]]]])
    check(
        tmp_path,
        [
            case(
                "CONV_2D",
                [image(8, 32, 1, scale=1.0, zero_point=0), *weights(filters, [scale] * 4)],
                T("y", (1, 8, 32, 4), 0.7, 0),
                padding=VALID,
                **strides(1),
            )
            for scale in (1.4, 0.5, 0.35, 0.004, 0.00031, 1e-8, 1e-11)
        ],
    )


def test_depthwise_conv_2d(tmp_path: Path) -> None:
    cases = []
    for padding, multiplier, (stride, dilation) in product(
        (SAME, VALID), (1, 3), ((1, 1), (2, 1), (1, 2))
    ):
        count = 3 * multiplier
        scales = np.random.default_rng(4).uniform(0.001, 0.02, count)
        tensors = [image(), *weights(random(1, 1, 3, 3, count), scales, axis=3)]
        sides = whole(padding, stride, 2 * dilation + 1, 2 * dilation + 1)
        options = {"dilationHFactor": dilation, "dilationWFactor": dilation, **strides(stride)}
        options |= {"padding": padding, "depthMultiplier": multiplier}
        output = T("y", (1, *sides, count), 0.031, 5)
        cases.append(
            case("DEPTHWISE_CONV_2D", tensors, output, fusedActivationFunction=RELU6, **options)
        )
    check(tmp_path, cases)


def test_fully_connected(tmp_path: Path) -> None:
    cases = []
    for per_channel, with_bias, keep in product((True, False), repeat=3):
        scales: Any = np.random.default_rng(4).uniform(0.001, 0.02, 5) if per_channel else 0.0073
        filters, biases = weights(random(1, 5, 12), scales)
        tensors = [T("x", (2, 3, 12), 0.047, -3), filters, biases if with_bias else T("", ())]
        output = T("y", (2, 3, 5) if keep else (6, 5), 0.11, 5)
        options = {"keepNumDims": keep, "fusedActivationFunction": RELU}
        cases.append(case("FULLY_CONNECTED", tensors, output, **options))
    check(tmp_path, cases)


def test_fully_connected_rounds_the_product_of_doubles(tmp_path: Path) -> None:
    """Halves go away from zero; the multipliers of CONV_2D would give other answers."""
    values = np.array([[1], [-1], [3], [127]])
    check(
        tmp_path,
        [
            case(
                "FULLY_CONNECTED",
                [T("x", (64, 1), 1.0, 0), weights(values, scale)[0], T("", ())],
                T("y", (64, 4), out, 0),
            )
            for scale, out in ((0.5, 1.0), (0.1, 0.2), (0.3, 0.7), (1e-9, 1.0))
        ],
    )


def test_arithmetic(tmp_path: Path) -> None:
    pairs = [
        ((1, 4, 5, 3), (1, 4, 5, 3)),
        ((2, 4, 5, 3), (5, 1)),
        ((1, 1, 3), (2, 4, 1)),
        ((7,), ()),
    ]
    cases = []
    for kind, (first, second) in product(("ADD", "SUB", "MUL"), pairs):
        tensors = [T("a", first, 0.047, -3), T("b", second, 0.0131, 100)]
        output = T("y", np.broadcast_shapes(first, second), 0.051, 5)
        cases.append(case(kind, tensors, output))
        cases.append(case(kind, tensors, output, fusedActivationFunction=RELU_N1_TO_1))
    constant = T("b", (3,), 0.02, 7, values=[-128, 4, 127])
    cases.append(case("ADD", [image(), constant], T("y", (1, 7, 6, 3), 0.05, -7)))
    check(tmp_path, cases)


def test_pooling(tmp_path: Path) -> None:
    cases = []
    for kind, padding, (size, stride) in product(
        ("AVERAGE_POOL_2D", "MAX_POOL_2D"), (SAME, VALID), ((2, 2), (3, 1), (3, 2))
    ):
        output = T("y", (1, *whole(padding, stride, size, size), 3), 0.047, -3)
        options = {"padding": padding, "filterHeight": size, "filterWidth": size}
        options |= strides(stride, fusedActivationFunction=RELU if stride == 2 else NONE)
        cases.append(case(kind, [image()], output, **options))
    check(tmp_path, cases)


def test_mean(tmp_path: Path) -> None:
    cases = []
    for axes, keep in product([(1, 2), (-1,), (0, 1, 2, 3), (0, 2), (3, 1)], (True, False)):
        shape = np.zeros((2, 5, 3, 7)).mean(axis=axes, keepdims=keep).shape
        given = T("axes", (len(axes),), dtype="int32", values=axes)
        tensors = [T("x", (2, 5, 3, 7), 0.047, -3), given]
        cases.append(case("MEAN", tensors, T("y", shape, 0.0213, 9), keepDims=keep))
    check(tmp_path, cases)


def test_softmax(tmp_path: Path) -> None:
    shapes = [(7, 1), (3, 7, 2), (7, 10), (2, 300)]
    check(
        tmp_path,
        [
            case("SOFTMAX", [T("x", shape, scale, 11)], T("y", shape, 1 / 256, -128), beta=beta)
            for scale, beta in ((0.0001, 1.0), (0.017, 1.0), (0.1, 0.5), (0.77, 1.0), (40.0, 2.0))
            for shape in shapes
        ],
    )


def test_tables(tmp_path: Path) -> None:
    fixed = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
    cases = []
    for kind, scale, zero_point in product(
        ("LOGISTIC", "TANH", "RELU", "RELU6", "RELU_N1_TO_1", "QUANTIZE"),
        (0.003, 0.0471, 0.3, 2.1),
        (-128, 4),
    ):
        output = T("y", (1, 40), *fixed.get(kind, (0.061, zero_point)))
        cases.append(case(kind, [T("x", (1, 40), scale, zero_point)], output))
    check(tmp_path, cases)


def test_copies(tmp_path: Path) -> None:
    source = T("x", (2, 5, 3, 7), 0.047, -3)
    cases = [
        case(
            "PAD",
            [image(), T("p", (4, 2), dtype=dtype, values=[(0, 0), (1, 2), (0, 3), (2, 0)])],
            T("y", (1, 10, 9, 5), 0.047, -3),
        )
        for dtype in ("int32", "int64")
    ]
    border = [T("p", (2, 2), dtype="int32", values=[(1, 1), (0, 2)])]
    border.append(T("v", (), 0.047, -3, values=99))
    small = T("x", (3, 4), 0.047, -3)
    cases.append(case("PADV2", [small, *border], T("y", (5, 6), 0.047, -3)))
    for axis in (0, 2, -1):
        shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
        shapes[1][axis] = 5
        joined = np.concatenate([np.zeros(shape) for shape in shapes], axis=axis).shape
        tensors = [T(f"x{i}_", shape, 0.047, -3) for i, shape in enumerate(shapes)]
        cases.append(case("CONCATENATION", tensors, T("y", joined, 0.047, -3), axis=axis))
    for order in ((0, 3, 1, 2), (3, 2, 1, 0), (0, 1, 2, 3)):
        shape = [source.shape[axis] for axis in order]
        tensors = [source, T("o", (4,), dtype="int32", values=order)]
        cases.append(case("TRANSPOSE", tensors, T("y", shape, 0.047, -3)))
    check(tmp_path, cases)


def test_views_share_memory_and_an_input_may_be_an_output(tmp_path: Path) -> None:
    """Two outputs: what RELU makes, and the input itself, seen through three views."""
    tensors = [
        T("x", (1, 6, 1), 0.05, 1),
        T("s", (2,), dtype="int32", values=(2, 3)),
        T("a", (2, 3), 0.05, 1),
        T("zero", (1,), dtype="int32", values=(0,)),
        T("b", (1, 2, 3), 0.05, 1),
        T("c", (2, 3), 0.05, 1),
        T("y", (2, 3), 0.04, 3),
    ]
    ops = [
        Op("RESHAPE", ["x", "s"], ["a"]),
        Op("EXPAND_DIMS", ["a", "zero"], ["b"]),
        Op("SQUEEZE", ["b"], ["c"]),
        Op("RELU", ["c"], ["y"], version=2),
    ]
    path = write(tmp_path / "m.tflite", tensors, ops, ["x"], "y", "c")
    sources = same_as_reference(path, tmp_path / "c", count=SAMPLES)
    assert sources.ops == ("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "RELU")
    assert sources.arena_bytes == 16, "the three views take no memory"


def test_one_rounding_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: a kernel whose rounding is off by one is caught."""
    import mcu_built

    sources = mcu_built.generate

    def wrong(path: Path) -> Any:
        made = sources(path)
        kernels = made.files["ek_kernels.h"].replace(b"(mask >> 1) +", b"(mask >> 1) - 1 +")
        return type(made)(**{**vars(made), "files": {**made.files, "ek_kernels.h": kernels}})

    monkeypatch.setattr(mcu_built, "generate", wrong)
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        test_conv_2d_rounds_twice_at_every_scale(tmp_path)

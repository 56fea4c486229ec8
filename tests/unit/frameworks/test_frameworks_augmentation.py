"""Augmentation: shapes, dtypes and ranges stay; the same rng gives the same batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.artifact import TensorSpec
from edgekit.core.training import Augmentation
from edgekit.errors import UsageError
from edgekit.frameworks.augmentation import augment, check_augmentation

IMAGE = TensorSpec("image", (None, 16, 24, 3), "float32")
SERIES = TensorSpec("series", (None, 40, 2), "float32")
FLAT = TensorSpec("x", (None, 140), "float32")


def batch(shape: Sequence[int], *, count: int = 6, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(1).normal(3, 2, (count, *shape)).astype(dtype)


def run(x: Any, *kinds: Augmentation, y: Any = None, classes: Any = None, seed: int = 0) -> Any:
    x = x if isinstance(x, tuple) else (x,)
    return augment(x, y, kinds, np.random.default_rng(seed), classes=classes)


@given(
    kinds=st.lists(st.sampled_from(["flip", "crop", "noise", "mixup"]), unique=True),
    sides=st.tuples(st.integers(8, 20), st.integers(8, 20), st.integers(1, 3)),
    count=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_images_keep_shape_dtype_and_range(
    kinds: list[Augmentation], sides: tuple[int, int, int], count: int, seed: int
) -> None:
    x, y = batch(sides, count=count), np.arange(count) % 3
    before = x.copy()
    (found,), y_a, y_b, share = run(x, *kinds, y=y, classes=3, seed=seed)
    (again,), *_ = run(x, *reversed(kinds), y=y, classes=3, seed=seed)
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(found, again)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(y_a, y)
    assert (y_b is None) == (share is None) == ("mixup" not in kinds)
    if "noise" not in kinds:
        assert found.min() >= x.min() - 1e-5
        assert found.max() <= x.max() + 1e-5


@given(
    shape=st.one_of(st.tuples(st.integers(10, 40)), st.tuples(st.integers(10, 40), st.just(2))),
    seed=st.integers(0, 99),
)
def test_shift_moves_each_series_and_repeats_its_edge(shape: tuple[int, ...], seed: int) -> None:
    x = batch(shape)
    (found,), *_ = run(x, "shift", seed=seed)
    steps, most = shape[0], shape[0] // 10
    for row, moved in zip(x, found, strict=True):
        candidates = [
            row[np.clip(np.arange(steps) + k, 0, steps - 1)] for k in range(-most, most + 1)
        ]
        assert any(np.array_equal(moved, candidate) for candidate in candidates)


def test_flip_mirrors_some_images() -> None:
    x = batch((8, 9, 1), count=40)
    (found,), *_ = run(x, "flip")
    same = [np.array_equal(a, b) for a, b in zip(found, x, strict=True)]
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(found, x, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 10 < sum(same) < 30


def test_crop_is_pad_and_crop() -> None:
    x = batch((16, 24, 3), count=40)
    (found,), *_ = run(x, "crop")
    offsets = set()
    for row, moved in zip(x, found, strict=True):
        padded = np.pad(row, ((2, 2), (3, 3), (0, 0)), mode="edge")
        hits = [
            (a, b)
            for a in range(5)
            for b in range(7)
            if np.array_equal(moved, padded[a : a + 16, b : b + 24])
        ]
        assert len(hits) == 1
        offsets.update(hits)
    assert {a for a, _ in offsets} == set(range(5))
    assert {b for _, b in offsets} == set(range(7))


def test_noise_is_a_twentieth_of_each_samples_deviation() -> None:
    x = batch((2000,), count=3) * np.array([[1], [10], [0]], np.float32)
    (found,), *_ = run(x, "noise")
    share = (found - x)[:2].std(axis=1) / x[:2].std(axis=1)
    np.testing.assert_allclose(share, 0.05, rtol=0.1)
    np.testing.assert_array_equal(found[2], x[2])


def test_mixup_mixes_samples_and_says_in_which_shares() -> None:
    x, y = batch((5,), count=64), np.arange(64)
    (found,), y_a, y_b, share = run(x, "mixup", y=y, classes=64)
    assert (share.shape, share.dtype) == ((64,), np.float32)
    assert share.min() < 0.1
    assert share.max() > 0.9
    expected = share[:, None] * x[y_a] + (1 - share[:, None]) * x[y_b]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert sorted(y_b) == list(y)


def test_mixup_mixes_real_labels_themselves() -> None:
    x = batch((3,), count=16)
    (found,), y, y_b, share = run(x, "mixup", y=2 * x.sum(axis=1))
    assert y_b is None
    assert share is None
    np.testing.assert_allclose(y, 2 * found.sum(axis=1), rtol=1e-4, atol=1e-4)


def test_mixup_without_labels_only_mixes() -> None:
    x = batch((3,))
    (found,), *rest = run(x, "mixup")
    assert rest == [None, None, None]
    assert not np.array_equal(found, x)


def test_whole_numbers_become_real_where_they_are_mixed() -> None:
    labels = np.arange(6)
    _, y, *_ = run(batch((3,)), "mixup", y=labels)
    assert y.dtype == np.float32


def test_double_precision_stays() -> None:
    (found,), *_ = run(batch((3,), dtype=np.float64), "noise", "mixup")
    assert found.dtype == np.float64


def test_of_several_inputs_the_first_that_suits_changes() -> None:
    inputs = batch((3,)), batch((16, 16, 1)), batch((16, 16, 1))
    found, *_ = run(inputs, "crop")
    assert [np.array_equal(a, b) for a, b in zip(found, inputs, strict=True)] == [True, False, True]


def test_of_several_inputs_mixup_mixes_all_alike() -> None:
    inputs = batch((3,)), batch((3,)) * 2
    found, *_ = run(inputs, "mixup")
    np.testing.assert_allclose(found[1], 2 * found[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("flip", IMAGE),
        ("crop", IMAGE),
        ("mixup", IMAGE),
        ("noise", IMAGE),
        ("noise", SERIES),
        ("shift", SERIES),
        ("shift", FLAT),
        ("mixup", FLAT),
        ("shift", TensorSpec("x", (None, None, 3), "float32")),
        ("crop", TensorSpec("x", (None, None, None, 3), "float32")),
        ("shift", TensorSpec("words", (None, 140), "int32")),
    ],
)
def test_what_suits_is_taken(kind: Augmentation, spec: TensorSpec) -> None:
    check_augmentation((kind,), (spec,))


@pytest.mark.parametrize(
    ("kind", "specs", "message"),
    [
        (
            "flip",
            (FLAT,),
            "augment: 'flip' is for images (height x width x channels), and input 'x' is 140",
        ),
        (
            "crop",
            (TensorSpec("x", (1, 7, 9, 1), "float32"),),
            "augment: 'crop' is for images (height x width x channels) of at least 8x8, and input "
            "'x' is 7x9x1",
        ),
        (
            "shift",
            (IMAGE, TensorSpec("n", (None, 4), "float32")),
            "augment: 'shift' is for series (time, or time x channels) of at least 10 steps, and "
            "no input is: 'image' is 16x24x3, 'n' is 4",
        ),
        (
            "noise",
            (TensorSpec("x", (None,), "float32"),),
            "augment: 'noise' is for inputs of more than one value, and input 'x' is a "
            "single number",
        ),
        (
            "flip",
            (TensorSpec("x", (None, None, 3), "float32"),),
            "augment: 'flip' is for images (height x width x channels), and input 'x' is ?x3",
        ),
        (
            "noise",
            (TensorSpec("words", (None, 140), "int32"), SERIES),
            "augment: 'noise' is for real-valued inputs, and input 'words' is int32",
        ),
        (
            "mixup",
            (SERIES, TensorSpec("words", (None, 140), "int32")),
            "augment: 'mixup' is for real-valued inputs, and input 'words' is int32",
        ),
    ],
)
def test_what_does_not_suit_is_refused(
    kind: Augmentation, specs: tuple[TensorSpec, ...], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_augmentation((kind,), specs)
    assert caught.value.message == message
    assert caught.value.hint


def test_every_kind_is_covered() -> None:
    check_augmentation(get_args(Augmentation), (IMAGE, SERIES))
    found, *_ = run((batch((16, 24, 3)), batch((40, 2))), *get_args(Augmentation))
    assert [array.shape for array in found] == [(6, 16, 24, 3), (6, 40, 2)]

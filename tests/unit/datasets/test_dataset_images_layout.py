"""Channels first or last, their order, and the mean and deviation that a model was trained with."""

import numpy as np
import pytest
from PIL import Image

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.datasets import images
from edgekit.errors import UsageError

COLOUR = (10, 100, 200)


@pytest.fixture
def folder(tmp_path):
    for name in ("cat/a.png", "dog/b.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (6, 4), COLOUR).save(tmp_path / name)
    return tmp_path


def load(folder, *shape, **options):
    inputs = (TensorSpec("x", (1, *shape), "float32"),)
    signature = Signature(inputs, ()) if shape else None
    (rows,) = images.load(str(folder), images.Options(**options), signature).train.x
    return rows[0:1]


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((3, None, None), {}, (3, 4, 6)),
        ((3, None, None), {"size": (5,)}, (3, 5, 5)),
        ((None, None, 3), {}, (4, 6, 3)),
        ((None, None, None), {"layout": "nchw"}, (3, 4, 6)),
        ((None, None, None), {"layout": "nhwc"}, (4, 6, 3)),
        ((None, None, None), {"layout": "nchw", "channels": 1}, (1, 4, 6)),
        ((), {"layout": "nchw"}, (3, 4, 6)),
        ((3, 8, 3), {}, (3, 8, 3)),
        ((3, 8, 3), {"layout": "nchw"}, (3, 8, 3)),
        ((1, 8, 9), {"layout": "nchw"}, (1, 8, 9)),
    ],
)
def test_where_the_channels_are(folder, shape, options, expected):
    assert load(folder, *shape, **options).shape == (1, *expected)


def test_both_layouts_of_an_ambiguous_shape(folder):
    assert load(folder, 3, 8, 3)[0, 0, 0].tolist() == list(COLOUR)
    assert load(folder, 3, 8, 3, layout="nchw")[0, :, 0, 0].tolist() == list(COLOUR)


def test_the_order_of_the_channels(folder):
    assert load(folder, 3, 4, 6)[0, :, 0, 0].tolist() == [10, 100, 200]
    assert load(folder, 3, 4, 6, order="bgr")[0, :, 0, 0].tolist() == [200, 100, 10]
    assert load(folder, 4, 6, 3, order="bgr")[0, 0, 0].tolist() == [200, 100, 10]
    assert load(folder, 4, 6, 1, order="bgr").shape == (1, 4, 6, 1)


def test_the_digest_covers_layout_and_order(folder):
    given = ({}, {"order": "bgr"}, {"layout": "nchw"})
    digests = {images.load(str(folder), images.Options(**each), None).digest for each in given}
    assert len(digests) == 3


@pytest.mark.parametrize(("shape", "layout"), [((8, 9, 3), "nchw"), ((3, 8, 9), "nhwc")])
def test_a_layout_that_is_not_the_models(folder, shape, layout):
    with pytest.raises(UsageError) as caught:
        load(folder, *shape, layout=layout)
    assert caught.value.message.endswith(f"the model's input {shape} is not {layout}")
    assert caught.value.hint == "leave layout out of --data-options"


def test_mean_and_deviation_are_an_input_scaling():
    given = images.Options(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    scaling = given.scaling
    assert (scaling.low, scaling.high) == (0.0, 255.0)
    pixels = np.array([0.0, 128.0, 255.0])
    ready = pixels * scaling.scale + scaling.offset
    np.testing.assert_allclose(ready, (pixels / 255 - given.mean) / given.std)


@pytest.mark.parametrize(
    ("options", "scale", "offset"),
    [
        ({"mean": (0.5,)}, (1 / 255,), (-0.5,)),
        ({"std": (0.5,)}, (2 / 255,), (0.0,)),
        ({"mean": (0.5,), "std": (0.5, 0.25, 1.0)}, (2 / 255, 4 / 255, 1 / 255), (-1, -2, -0.5)),
    ],
)
def test_one_of_the_two_or_one_number(options, scale, offset):
    scaling = images.Options(**options).scaling
    assert scaling.scale == pytest.approx(scale)
    assert scaling.offset == pytest.approx(offset)


def test_neither_is_no_scaling():
    assert images.Options().scaling is None


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"mean": (0.5, 0.5)}, "mean must be one number, or one a channel, not [0.5, 0.5]"),
        ({"std": (1.0, 1.0)}, "std must be one number, or one a channel"),
        ({"std": (0.0,)}, "std must be above 0 and at most 1, not [0.0]"),
        ({"std": (58.4,)}, "std must be above 0 and at most 1, not [58.4]"),
        ({"mean": (123.7,)}, "mean must be from 0 to 1, not [123.7]"),
    ],
)
def test_ranges(bad, message):
    with pytest.raises(ValueError, match="must be") as caught:
        images.Options(**bad)
    assert message in str(caught.value)

"""Every zoo model: what its help promises, its names, and the shapes it refuses."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from edgekit.core import catalog
from edgekit.core.training import TrainingOptions
from edgekit.errors import UsageError

MODELS = catalog.names("zoo")
REFERENCE = {
    "digits-cnn": ((8, 8, 1), 13_706, 4),
    "lenet5": ((28, 28, 1), 431_080, 16),
    "ds-cnn": ((28, 28, 1), 22_218, 4),
}


def test_the_zoo_is_what_the_reference_table_has() -> None:
    assert set(REFERENCE) <= set(MODELS)


@pytest.mark.parametrize("name", REFERENCE)
def test_help_is_short_and_says_the_parameter_count(name: str) -> None:
    summary = catalog.find("zoo", name).summary
    assert len(summary) <= 80
    assert f"{REFERENCE[name][1]:,} parameters" in summary
    assert re.search(r"et al\. \d{4}", summary)


@pytest.mark.parametrize("name", REFERENCE)
def test_settings(name: str) -> None:
    settings = catalog.load("zoo", name).SETTINGS
    assert isinstance(settings, TrainingOptions)
    assert settings.patience  # it stops by itself
    assert not settings.files  # trained from the data alone
    assert settings.strategy == "none"


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", REFERENCE)
def test_parameters_names_and_outputs(name: str) -> None:
    shape, parameters, _ = REFERENCE[name]
    model = catalog.load("zoo", name).build(shape, 10)
    assert model.count_params() == parameters
    assert [tensor.name for tensor in model.inputs] == ["image"]
    assert model.input_shape == (None, *shape)
    assert model.output_shape == (None, 10)
    assert model.layers[-1].activation.__name__ == "softmax"
    assert {"conv1", "conv2", "dense1"} <= {layer.name for layer in model.layers}


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", REFERENCE)
def test_layer_names_do_not_depend_on_what_was_built_before(name: str) -> None:
    shape, _, _ = REFERENCE[name]
    build = catalog.load("zoo", name).build
    assert build(shape, 10).to_json() == build(shape, 10).to_json()


@pytest.mark.tensorflow
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (8, 8, 1)])
def test_ds_cnn_takes_these_shapes_with_under_100k_parameters(shape: tuple[int, ...]) -> None:
    model = catalog.load("zoo", "ds-cnn").build(shape, 10)
    assert model.output_shape == (None, 10)
    assert model.count_params() < 100_000


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", REFERENCE)
def test_the_smallest_image_works(name: str) -> None:
    least = REFERENCE[name][2]
    assert catalog.load("zoo", name).build((least, least, 1), 2).output_shape == (None, 2)


@pytest.mark.parametrize("name", REFERENCE)
def test_a_smaller_image_is_refused_before_keras_is_needed(name: str) -> None:
    least = REFERENCE[name][2]
    with pytest.raises(UsageError) as caught:
        catalog.load("zoo", name).build((least - 1, 40, 3), 10)
    assert caught.value.message == (
        f"zoo:{name}: takes images of at least {least}x{least}, but a sample is {least - 1}x40x3"
    )
    assert caught.value.hint


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize(
    ("shape", "shown"), [((64,), "64"), ((28, 28), "28x28"), ((), "a single number")]
)
def test_samples_that_are_no_images_are_refused(
    name: str, shape: tuple[int, ...], shown: str
) -> None:
    with pytest.raises(UsageError) as caught:
        catalog.load("zoo", name).build(shape, 10)
    assert caught.value.message == (
        f"zoo:{name}: takes images (height x width x channels), but a sample is {shown}"
    )


@pytest.mark.parametrize("name", REFERENCE)
def test_one_class_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        catalog.load("zoo", name).build((28, 28, 1), 1)
    assert caught.value.message == (
        f"zoo:{name}: sorts into at least 2 classes, but the data has 1"
    )


def test_importing_the_zoo_imports_nothing_heavy() -> None:
    modules = ", ".join(catalog.find("zoo", name).module for name in MODELS)
    code = (
        f"import sys, edgekit.lazy, {modules}; print(sorted(edgekit.lazy.HEAVY & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

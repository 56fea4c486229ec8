"""What `distill` refuses before any training, and the words it uses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from fake_work import FakeWork, artifact

from edgekit.core.artifact import Artifact, InputScaling
from edgekit.errors import UsageError
from edgekit.techniques.distill import Parameters, keras

CLASSES = 10


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give exactly one of student and width: neither is there"),
        (
            {"student": "a.keras", "width": 0.5},
            "give exactly one of student and width: both are there",
        ),
        ({"width": 1.0}, "width must be between 0 and 1, not 1.0"),
        ({"width": -0.5}, "width must be between 0 and 1, not -0.5"),
        ({"width": 0.5, "round_to": 0}, "round_to must be at least 1, not 0"),
        (
            {"student": "a.keras", "round_to": 8},
            "round_to is for width: a student that is named has its own channels",
        ),
        (
            {"width": 0.5, "teacher": ()},
            "teacher must name at least one model, 'source' or a file",
        ),
        (
            {"width": 0.5, "features": ("conv",)},
            "features must be 'STUDENT_LAYER:TEACHER_LAYER', not 'conv'",
        ),
        (
            {"width": 0.5, "alpha": 1.0},
            "alpha must be below 1: at 1 nothing is learned from the teacher",
        ),
        ({"width": 0.5, "epochs": 0}, "epochs must be at least 1, not 0"),
    ],
)
def test_parameters_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="must|give|round_to") as caught:
        Parameters(**given)
    assert str(caught.value) == message


def test_features_alone_may_teach() -> None:
    parameters = Parameters(width=0.5, alpha=1.0, features=("a:b", "c:d:e"))
    assert parameters.pairs == (("a", "b"), ("c", "d:e"))
    assert not parameters.keeps_layers


def test_files_that_change_the_result() -> None:
    named = Parameters(student="small.keras", teacher=("source", "big.tflite"), hooks="python:h.py")
    assert named.files == (Path("h.py"), Path("big.tflite"), Path("small.keras"))
    (code,) = Parameters(student="zoo:ds-cnn").files
    assert code.name == "ds_cnn.py"
    assert Parameters(width=0.5).files == ()


class Files(FakeWork):
    """Opens what is there, as the engine does."""

    scalings: dict[str, InputScaling]

    def open(self, model: str) -> Artifact:
        if not Path(model).exists():
            raise UsageError(f"model '{model}': no such file or folder", hint="look again")
        scaling = self.scalings.get(model, InputScaling())
        return dataclasses.replace(super().open(model), scaling=scaling)


def save(model: Any, path: Path) -> Path:
    from edgekit.frameworks.keras import save_keras

    save_keras(model, path)
    return path


def convolutional(channels: int = 4, *, classes: int = CLASSES, kernel: int = 3) -> Any:
    from edgekit.frameworks.keras import import_keras

    library = import_keras("a test")
    image = library.Input((8, 8, 1), name="image")
    shared = library.layers.Activation("relu", name="relu")
    x = shared(library.layers.Conv2D(channels, kernel, name="conv")(image))
    x = shared(library.layers.Flatten(name="flatten")(x))
    return library.Model(image, library.layers.Dense(classes, name="dense")(x))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distill_refusals")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    return save(convolutional(), folder / "source.keras")


@pytest.fixture
def models(source: Path, tmp_path: Path) -> Files:
    made = Files(tmp_path, artifact(source, "keras"))
    made.scalings = {}
    return made


def refusal(models: Files, **given: Any) -> tuple[str, str]:
    with pytest.raises(UsageError) as caught:
        keras.check(Parameters(**given), models.source, models)
    return caught.value.message, caught.value.hint


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "given",
    [
        {"student": "zoo:digits-cnn"},
        {"width": 0.5, "features": ("conv:conv", "image:image")},
        {"width": 0.5, "teacher": ("TINY",)},
        {"width": 0.5, "teacher": ("source", "TINY"), "features": ("conv:conv",)},
    ],
)
def test_what_fits_is_taken(given: dict[str, Any], models: Files, tiny_float: Path) -> None:
    teachers = given.get("teacher", ("source",))
    named = tuple(str(tiny_float) if name == "TINY" else name for name in teachers)
    keras.check(Parameters(**{**given, "teacher": named}), models.source, models)


@pytest.mark.tensorflow
def test_an_unknown_zoo_model(models: Files) -> None:
    assert refusal(models, student="zoo:ds-cn") == (
        "student: the zoo has no 'ds-cn'",
        "did you mean 'ds-cnn' or 'digits-cnn'?",
    )


@pytest.mark.tensorflow
def test_a_zoo_model_for_other_images(models: Files) -> None:
    message, _ = refusal(models, student="zoo:lenet5")
    assert message == "zoo:lenet5: takes images of at least 16x16, but a sample is 8x8x1"


@pytest.mark.tensorflow
def test_a_zoo_model_for_several_inputs(models: Files, folder: Path) -> None:
    from edgekit.frameworks.keras import import_keras

    library = import_keras("a test")
    inputs = [library.Input((3,), name=name) for name in ("a", "b")]
    x = library.layers.Dense(2, name="dense")(library.layers.Add(name="add")(inputs))
    models.source = artifact(save(library.Model(inputs, x), folder / "two.keras"), "keras")
    message, hint = refusal(models, student="zoo:ds-cnn")
    assert message == (
        "student: 'zoo:ds-cnn' has one input and one score a class, but the model takes 3, 3 and "
        "gives 2"
    )
    assert "width" in hint


@pytest.mark.tensorflow
def test_a_zoo_model_for_an_open_shape(models: Files, folder: Path) -> None:
    from edgekit.frameworks.keras import import_keras

    library = import_keras("a test")
    image = library.Input((None, None, 1), name="image")
    x = library.layers.GlobalAveragePooling2D(name="pool")(image)
    model = library.Model(image, library.layers.Dense(3, name="dense")(x))
    models.source = artifact(save(model, folder / "open.keras"), "keras")
    message, _ = refusal(models, student="zoo:ds-cnn")
    assert message == ("student: 'zoo:ds-cnn' is built for one shape, but the model takes ?x?x1")


@pytest.mark.tensorflow
def test_a_student_file_that_is_not_there(models: Files) -> None:
    assert refusal(models, student="none.keras") == (
        "student: model 'none.keras': no such file or folder",
        "look again",
    )


@pytest.mark.tensorflow
def test_a_student_that_cannot_be_trained(models: Files, tiny_float: Path) -> None:
    message, hint = refusal(models, student=str(tiny_float))
    assert message == f"student: '{tiny_float}' is a tflite file, which cannot be trained"
    assert "a teacher may have any format" in hint


@pytest.mark.tensorflow
def test_a_student_with_other_outputs(models: Files, folder: Path) -> None:
    path = save(convolutional(classes=7), folder / "seven.keras")
    message, _ = refusal(models, student=str(path))
    assert message == (f"student: '{path}' has outputs of 7, and the model it replaces of 10")


@pytest.mark.tensorflow
def test_a_width_that_changes_nothing(models: Files, folder: Path) -> None:
    models.source = artifact(save(convolutional(1), folder / "one.keras"), "keras")
    message, hint = refusal(models, width=0.9)
    assert message == "width: no layer of the model gets fewer channels at width 0.9"
    assert hint == "its 380 parameters stay: name a student, or give a smaller round_to"


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("pair", "message", "hint"),
    [
        ("convv:conv", "features: the student has no layer 'convv'", "did you mean 'conv'?"),
        ("conv:dens", "features: the teacher has no layer 'dens'", "did you mean 'dense'?"),
        (
            "conv:relu",
            "features: layer 'relu' of the teacher has no single output",
            "pair a layer that is used once",
        ),
        (
            "conv:dense",
            "features: 'conv:dense' pairs 6x6x2 with 10, and only the channels (the last axis) "
            "may differ",
            "pair layers whose outputs have the same height and width",
        ),
    ],
)
def test_layer_pairs_that_do_not_go_together(
    pair: str, message: str, hint: str, models: Files
) -> None:
    assert refusal(models, width=0.5, features=(pair,)) == (message, hint)


@pytest.mark.tensorflow
def test_layers_of_another_height(models: Files, folder: Path) -> None:
    path = str(save(convolutional(2, kernel=5), folder / "five.keras"))
    message, _ = refusal(models, student=path, features=("conv:conv",))
    assert message.startswith("features: 'conv:conv' pairs 4x4x2 with 6x6x4,")


@pytest.mark.tensorflow
def test_layers_of_a_teacher_without_layers(models: Files, tiny_float: Path) -> None:
    message, _ = refusal(
        models, width=0.5, teacher=(str(tiny_float), "source"), features=("conv:conv",)
    )
    assert message == (
        f"features: the teacher '{tiny_float}' is a tflite file, whose layers cannot be read"
    )


@pytest.mark.tensorflow
def test_a_teacher_that_is_not_there(models: Files) -> None:
    message, _ = refusal(models, width=0.5, teacher=("none.tflite",))
    assert "'none.tflite'" in message


@pytest.mark.tensorflow
def test_a_teacher_with_other_outputs(models: Files, folder: Path) -> None:
    path = str(save(convolutional(classes=4), folder / "four.keras"))
    message, _ = refusal(models, width=0.5, teacher=(path,))
    assert message == f"teacher '{path}' gives 4, and the student 10"


@pytest.mark.tensorflow
def test_a_teacher_from_another_input_range(models: Files, tiny_float: Path) -> None:
    models.scalings = {str(tiny_float): InputScaling((2.0,))}
    message, _ = refusal(models, width=0.5, teacher=(str(tiny_float),))
    assert message == (
        f"teacher '{tiny_float}' was trained on another input scaling than the model"
    )

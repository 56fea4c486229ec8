"""Keras to TFLite: the same outputs, static shapes, and errors that name the ops."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
from fake_work import FakeWork, artifact
from hypothesis import given
from hypothesis import strategies as st
from litert_quantizer.utils.tfl_flatbuffer_utils import read_model as read_object

from edgekit.conversions import keras_to_tflite as conversion
from edgekit.conversions.keras_to_tflite import Parameters, compare, relative_difference
from edgekit.core.artifact import Artifact, Signature, TensorSpec
from edgekit.core.description import Description
from edgekit.core.schema import build
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.tflite_converter import explain


def described(*shape: int | None) -> Description:
    """A Keras model with one input of this shape."""
    signature = Signature((TensorSpec("image", shape, "float32"),), ())
    return Description("keras", signature, (), (), 1, (), 0)


class Described:
    """Model files of which only the description is known."""

    def __init__(self, description: Description) -> None:
        self.description = description

    def describe(self, artifact: Artifact) -> Description:
        return self.description

    def open(self, model: str) -> Artifact:
        raise AssertionError(model)


def check(parameters: Parameters | None, description: Description) -> None:
    models = Described(description)
    conversion.check(parameters, artifact(Path("model.keras"), "keras"), models)


def signature(*names: str) -> Signature:
    return Signature((), tuple(TensorSpec(name, (None, 2), "float32") for name in names))


@pytest.fixture
def work(tmp_path: Path) -> FakeWork:
    return FakeWork(tmp_path, artifact(tmp_path / "model.keras", "keras"))


class TestParameters:
    def test_batch_out_of_range(self) -> None:
        with pytest.raises(UsageError) as caught:
            build(Parameters, {"batch": -1}, where="convert")
        assert caught.value.message == "convert: batch must be from 0 (open) to 4096, not -1"

    def test_default_is_a_static_batch_of_one(self) -> None:
        assert Parameters() == Parameters(batch=1, allow_select_ops=False)


class TestCheck:
    def test_open_dimension(self) -> None:
        with pytest.raises(UsageError) as caught:
            check(None, described(None, None, 3))
        assert caught.value.message == (
            "input 'image' of the model has the shape (?, ?, 3), and only the batch may be open"
        )

    @pytest.mark.parametrize(("batch", "asked"), [(1, "a batch of 1"), (0, "an open batch")])
    def test_another_fixed_batch(self, batch: int, asked: str) -> None:
        with pytest.raises(UsageError) as caught:
            check(Parameters(batch), described(8, 3))
        assert caught.value.message == (
            f"input 'image' of the model has the shape (8, 3), and {asked} is asked for"
        )
        assert caught.value.hint == (
            "`edgekit convert MODEL --conversion-options batch=8`, or save it with an open batch "
            "(None)"
        )

    def test_text(self) -> None:
        text = Signature((TensorSpec("words", (None, 1), "string"),), ())
        with pytest.raises(UsageError) as caught:
            check(None, Description("keras", text, (), (), 1, (), 0))
        assert caught.value.message == (
            "input 'words' of the model holds text, and only numbers can be converted"
        )

    def test_what_can_be_converted(self) -> None:
        check(None, described(None, 8, 8, 1))
        check(Parameters(8), described(8, 3))


class TestExplain:
    def test_names_the_ops_that_need_tensorflow(self) -> None:
        error = explain(
            "<unknown>:0: error: failed while converting: 'main':\nSome ops are not supported by "
            "the native TFLite runtime\nTF Select ops: MatrixInverse, Cholesky\nDetails:\n"
        )
        assert error.message == (
            "TensorFlow Lite has no form of its own for: Cholesky, MatrixInverse"
        )
        assert "`edgekit convert MODEL --conversion-options allow_select_ops=true`" in error.hint

    def test_names_ops_that_no_runtime_has(self) -> None:
        error = explain("Some ops in the model are custom ops\nCustom ops: Erfinv\nDetails:")
        assert error.message == ("no TensorFlow Lite runtime has the ops of the model: Erfinv")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [("\n  out of luck \nmore", "out of luck"), ("", "it gave no reason")],
        ids=["text", "nothing"],
    )
    def test_anything_else_in_its_own_words(self, text: str, reason: str) -> None:
        assert explain(text).message == f"TFLiteConverter failed: {reason}"


class TestCompare:
    def test_the_worst_output_is_named(self, work: FakeWork) -> None:
        good, bad = np.ones((4, 2)), np.array([[100.0, 1.0]])
        with pytest.raises(PromiseError) as caught:
            compare((good, bad), (good, bad + 1), signature("a", "b"), signature("a", "b"), work)
        assert caught.value.message == (
            "output 'b' of the .tflite differs from the Keras model by 0.01 of its "
            "largest value, and at most 0.0001 is allowed"
        )

    def test_outputs_are_matched_by_name(self, work: FakeWork) -> None:
        first, second = np.ones((4, 2)), np.zeros((4, 2))
        compare((first, second), (second, first), signature("z", "a"), signature("a", "z"), work)
        (note,) = work.noted("proven equal")
        assert note.item == "2 outputs on 4 inputs"

    def test_an_output_without_a_counterpart(self, work: FakeWork) -> None:
        values = (np.ones((4, 2)),)
        with pytest.raises(PromiseError) as caught:
            compare(values, values, signature("a"), signature("b"), work)
        assert caught.value.message == "output 'a' has no counterpart"

    def test_another_shape(self) -> None:
        with pytest.raises(PromiseError) as caught:
            relative_difference("a", np.ones((4, 2)), np.ones((4, 3)))
        assert caught.value.message == (
            "output 'a' of the .tflite has the shape (4, 3), and (4, 2) in the Keras model"
        )

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_result_that_is_not_finite(self, value: float, work: FakeWork) -> None:
        made = np.array([[value, 1.0]])
        with pytest.raises(PromiseError) as caught:
            compare((np.ones((1, 2)),), (made,), signature("a"), signature("a"), work)
        assert caught.value.message == (
            "output 'a' of the .tflite has 1 of 2 values NaN or infinite on the compared inputs, "
            "and the Keras model none"
        )

    @pytest.mark.parametrize("value", [np.nan, -np.inf])
    def test_a_reference_that_is_not_finite_proves_nothing(
        self, value: float, work: FakeWork
    ) -> None:
        """Not even against the very same values: NaN is equal to nothing."""
        both = np.array([[value, 1.0, value]])
        with pytest.raises(UsageError) as caught:
            compare((both,), (both,), signature("a"), signature("a"), work)
        assert caught.value.message == (
            "output 'a' of the Keras model has 2 of 3 values NaN or infinite on the compared inputs"
        )
        assert work.notes == []

    def test_anything_for_zero_is_never_equal(self) -> None:
        assert relative_difference("a", np.zeros(3), np.full(3, 1e-9)) == float("inf")

    @given(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=8),
        st.floats(0, 1e-2),
    )
    def test_is_the_share_of_the_largest_value(self, values: list[float], share: float) -> None:
        expected = np.array(values)
        largest = np.abs(expected).max()
        shifted = expected.copy()
        shifted[0] += share * largest
        moved = abs(shifted[0] - expected[0])
        wanted = moved / largest if moved else 0.0
        assert relative_difference("a", expected, shifted) == pytest.approx(wanted)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net with two inputs and two outputs, in another order than that of their names."""
    from edgekit.frameworks.keras import import_keras, save_keras

    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    left, right = keras.Input((6, 6, 1), name="left"), keras.Input((4,), name="right")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(left)
    x = layers.Concatenate()([layers.Flatten()(x), right])
    outputs = [layers.Dense(3, name="z")(x), layers.Dense(2, name="a")(x)]
    path = tmp_path_factory.mktemp("keras") / "two.keras"
    save_keras(keras.Model([right, left], outputs), path)
    return path


@pytest.mark.tensorflow
class TestWithTensorFlow:
    def convert(self, work: FakeWork, parameters: Parameters | None = None) -> Path:
        conversion.check(parameters, work.source, work)
        conversion.apply(parameters, work.source, work)
        conversion.verify(parameters, work.source, artifact(work.output), work)
        return work.output

    def test_two_inputs_two_outputs(self, saved: Path, tmp_path: Path) -> None:
        work = FakeWork(tmp_path, artifact(saved, "keras"))
        made = work.describe(artifact(self.convert(work)))
        assert {spec.name: spec.shape for spec in made.signature.inputs} == {
            "left": (1, 6, 6, 1),
            "right": (1, 4),
        }
        assert {spec.name for spec in made.signature.outputs} == {"z", "a"}
        assert [note.what for note in work.notes] == ["proven equal"]

    def test_open_batch(self, saved: Path, tmp_path: Path) -> None:
        work = FakeWork(tmp_path, artifact(saved, "keras"))
        made = work.describe(artifact(self.convert(work, Parameters(batch=0))))
        assert {spec.shape[0] for spec in made.signature.inputs} == {None}

    def test_another_model_is_not_proven_equal(self, saved: Path, tmp_path: Path) -> None:
        work = FakeWork(tmp_path, artifact(saved, "keras"))
        model = read_object(self.convert(work).read_bytes())
        weights = max((b for b in model.buffers if b.data is not None), key=lambda b: len(b.data))
        weights.data = (1.01 * weights.data.view(np.float32)).view(np.uint8)
        work.output.write_bytes(bytes(convert_object_to_bytearray(model)))
        with pytest.raises(PromiseError) as caught:
            conversion.verify(None, work.source, artifact(work.output), work)
        assert caught.value.message.startswith("model 'two': output '")
        assert "differs from the Keras model" in caught.value.message

    def test_same_bytes_in_another_process(self, saved: Path, tmp_path: Path) -> None:
        work = FakeWork(tmp_path, artifact(saved, "keras"))
        here = self.convert(work).read_bytes()
        code = (
            "from pathlib import Path; from fake_work import FakeWork, artifact;"
            "from edgekit.conversions import keras_to_tflite as c;"
            f"work = FakeWork(Path({str(tmp_path)!r}), artifact(Path({str(saved)!r}), 'keras'));"
            "c.apply(None, work.source, work)"
        )
        tests = Path(__file__).resolve().parents[2]
        done = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            cwd=tmp_path,
            env={"PYTHONPATH": f"{tests}:{tests.parent}", "CUDA_VISIBLE_DEVICES": "-1"},
        )
        assert (done.stdout, work.output.read_bytes() == here) == (b"", True)

    def test_op_without_a_form_in_tensorflow_lite(self, tmp_path: Path) -> None:
        from edgekit.frameworks.keras import import_keras, save_keras

        keras = import_keras()
        given = keras.Input((2, 2), name="given")
        path = tmp_path / "inverse.keras"
        save_keras(keras.Model(given, keras.ops.inv(given)), path)
        work = FakeWork(tmp_path, artifact(path, "keras"))
        with pytest.raises(PromiseError) as caught:
            conversion.apply(None, work.source, work)
        assert caught.value.message == (
            "model 'inverse': TensorFlow Lite has no form of its own for: MatrixInverse"
        )
        self.convert(work, Parameters(allow_select_ops=True))
        assert [note.item for note in work.noted("not proven equal")] == ["FlexMatrixInverse"]


def test_versions_do_not_import_tensorflow() -> None:
    versions: dict[str, Any] = dict(conversion.versions())
    assert set(versions) == {"tensorflow", "keras", "tf-keras"}

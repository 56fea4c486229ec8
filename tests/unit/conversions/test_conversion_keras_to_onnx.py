"""Keras to ONNX: the same outputs, the names of the model, the same bytes, errors with the op."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_work import FakeWork, artifact

from edgekit.conversions import _tf2onnx
from edgekit.conversions import keras_to_onnx as conversion
from edgekit.conversions.keras_to_onnx import Parameters
from edgekit.core.artifact import Artifact, Signature, TensorSpec
from edgekit.core.description import Description
from edgekit.core.schema import build
from edgekit.engine.work import predict
from edgekit.errors import PromiseError, UsageError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


class Work(FakeWork):
    """Runs `.onnx` files too."""

    def predict(self, artifact: Artifact, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        if artifact.format == "onnx":
            return predict(artifact, inputs)
        return super().predict(artifact, inputs)


class Described:
    """Model files of which only the input is known."""

    def __init__(self, spec: TensorSpec) -> None:
        self.description = Description("keras", Signature((spec,), ()), (), (), 1, (), 0)

    def describe(self, artifact: Artifact) -> Description:
        return self.description

    def open(self, model: str) -> Artifact:
        raise AssertionError(model)


def check(parameters: Parameters | None, *shape: int | None, dtype: str = "float32") -> None:
    models = Described(TensorSpec("image", shape, dtype))
    conversion.check(parameters, artifact(Path("model.keras"), "keras"), models)


class TestParameters:
    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"batch": -1}, "convert: batch must be from 0 (open) to 4096, not -1"),
            ({"opset": 12}, "convert: opset must be from 13 to 18, not 12"),
            ({"opset": 19}, "convert: opset must be from 13 to 18, not 19"),
        ],
    )
    def test_out_of_range(self, table: dict[str, int], message: str) -> None:
        with pytest.raises(UsageError) as caught:
            build(Parameters, table, where="convert")
        assert caught.value.message == message

    def test_defaults(self) -> None:
        assert Parameters() == Parameters(batch=1, opset=17)


class TestCheck:
    def test_another_fixed_batch(self) -> None:
        with pytest.raises(UsageError) as caught:
            check(None, 8, 3)
        assert caught.value.message == (
            "input 'image' of the model has the shape (8, 3), and a batch of 1 is asked for"
        )

    def test_text(self) -> None:
        with pytest.raises(UsageError, match="'image' of the model holds text"):
            check(None, None, 1, dtype="string")

    def test_what_can_be_converted(self) -> None:
        check(None, None, 8, 8, 1)
        check(Parameters(batch=0), None, None, 3)
        check(Parameters(batch=8), 8, 3)


def record(message: str, *args: str) -> logging.LogRecord:
    return logging.LogRecord("tf2onnx", logging.ERROR, "", 0, message, args, None)


class TestExplain:
    """What the engine raises, in one sentence."""

    def test_an_op_it_does_not_know(self) -> None:
        heard = [
            record("Tensorflow op [%s: %s] is not supported", "net/inv", "MatrixInverse"),
            record("Tensorflow op [%s: %s] is not supported", "net/inv_1", "MatrixInverse"),
            record("Tensorflow op [%s: %s] is not supported", "net/chol", "Cholesky"),
        ]
        assert _tf2onnx._explain(KeyError("x"), heard, 17).message == (
            "ONNX has no form in opset 17 for: Cholesky (at 'net/chol'), MatrixInverse "
            "(at 'net/inv')"
        )

    def test_an_op_that_it_fails_on(self) -> None:
        heard = [record("Failed to convert node %r (fct=%r)\n%r", "net/pool", "f", "s")]
        error = _tf2onnx._explain(ValueError("\n no dilations \nmore"), heard, 17)
        assert error.message == "tf2onnx failed at 'net/pool': no dilations"
        assert "opset=18" in error.hint

    def test_anything_else(self) -> None:
        assert _tf2onnx._explain(ValueError(""), [], 17).message == "tf2onnx failed: ValueError('')"


def build_two(keras: Any) -> Any:
    """Two inputs and two outputs, in another order than that of their names; a BatchNorm."""
    layers = keras.layers
    left, right = keras.Input((6, 6, 1), name="left"), keras.Input((4,), name="right")
    x = layers.Conv2D(4, 3, name="conv")(left)
    x = layers.ReLU(name="act")(layers.BatchNormalization(name="norm")(x))
    x = layers.Concatenate(name="both")([layers.Flatten(name="flat")(x), right])
    outputs = [layers.Dense(3, name="z")(x), layers.Dense(2, name="a")(x)]
    model = keras.Model([right, left], outputs)
    rng = np.random.default_rng(0)
    norm = model.get_layer("norm")
    norm.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in norm.get_weights()])
    return model


def build_dict(keras: Any) -> Any:
    """An output with the name of an input."""
    first, second = keras.Input((3,), name="b"), keras.Input((2,), name="a")
    x = keras.layers.Concatenate()([first, second])
    outputs = {"scores": keras.layers.Dense(2)(x), "a": keras.layers.Dense(3)(x)}
    return keras.Model({"b": first, "a": second}, outputs)


def build_lstm(keras: Any) -> Any:
    steps = keras.Input((None, 3), name="steps")
    x = keras.layers.LSTM(4, return_sequences=True)(steps)
    return keras.Model(steps, keras.layers.Dense(2, name="dense")(x))


def build_gelu(keras: Any) -> Any:
    """The exact one is of erfc, which the engine has no form for."""
    given = keras.Input((3,), name="given")
    return keras.Model(given, keras.layers.Activation("gelu", name="gelu")(given))


def build_inverse(keras: Any) -> Any:
    given = keras.Input((2, 2), name="given")
    return keras.Model(given, keras.ops.inv(given))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Any], Any]], Path]:
    from edgekit.frameworks.keras import import_keras, save_keras

    folder = tmp_path_factory.mktemp("keras")

    def save(build: Callable[[Any], Any]) -> Path:
        path = folder / f"{build.__name__.removeprefix('build_')}.keras"
        if not path.exists():
            keras = import_keras()
            keras.utils.set_random_seed(0)
            save_keras(build(keras), path)
        return path

    return save


Saved = Callable[[Callable[[Any], Any]], Path]


@pytest.mark.tensorflow
class TestWithTensorFlow:
    def work(self, folder: Path, path: Path) -> Work:
        return Work(folder, artifact(path, "keras"), suffix=".onnx")

    def convert(self, work: Work, parameters: Parameters | None = None) -> Any:
        conversion.check(parameters, work.source, work)
        conversion.apply(parameters, work.source, work)
        conversion.verify(parameters, work.source, artifact(work.output, "onnx"), work)
        onnx.checker.check_model(str(work.output), full_check=True)
        return onnx.load(str(work.output))

    def shapes(self, values: Any) -> dict[str, list[Any]]:
        return {
            value.name: [
                size.dim_value or size.dim_param for size in value.type.tensor_type.shape.dim
            ]
            for value in values
        }

    def test_two_inputs_two_outputs(self, saved: Saved, tmp_path: Path) -> None:
        work = self.work(tmp_path, saved(build_two))
        graph = self.convert(work).graph
        assert self.shapes(graph.input) == {"right": [1, 4], "left": [1, 6, 6, 1]}
        assert self.shapes(graph.output) == {"z": [1, 3], "a": [1, 2]}
        assert list(self.shapes(graph.input)) == ["right", "left"]
        assert list(self.shapes(graph.output)) == ["z", "a"]
        assert [note.what for note in work.notes] == ["proven equal"]

    def test_weights_are_constants_of_layers_with_their_names(
        self, saved: Saved, tmp_path: Path
    ) -> None:
        model = self.convert(self.work(tmp_path, saved(build_two)))
        (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
        shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
        assert conv.name.startswith("conv/")
        assert [shapes[name] for name in conv.input[1:]] == [[4, 1, 3, 3], [4]]
        assert not {"BatchNormalization", "Mul", "Add"} & {n.op_type for n in model.graph.node}
        assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]
        assert not any("__" in name for node in model.graph.node for name in node.output)

    @pytest.mark.parametrize("opset", [13, 18])
    def test_an_open_batch_in_another_opset(self, opset: int, saved: Saved, tmp_path: Path) -> None:
        model = self.convert(self.work(tmp_path, saved(build_two)), Parameters(0, opset))
        assert self.shapes(model.graph.input) == {"right": ["batch", 4], "left": ["batch", 6, 6, 1]}
        assert model.opset_import[0].version == opset

    def test_inputs_and_outputs_in_a_dict(self, saved: Saved, tmp_path: Path) -> None:
        graph = self.convert(self.work(tmp_path, saved(build_dict))).graph
        assert self.shapes(graph.input) == {"a": [1, 2], "b": [1, 3]}
        assert self.shapes(graph.output) == {"a_1": [1, 3], "scores": [1, 2]}

    @pytest.mark.parametrize("batch", [0, 1])
    def test_an_lstm_over_any_number_of_steps_is_one_op(
        self, batch: int, saved: Saved, tmp_path: Path
    ) -> None:
        graph = self.convert(self.work(tmp_path, saved(build_lstm)), Parameters(batch)).graph
        kinds = {node.op_type for node in graph.node}
        assert "LSTM" in kinds
        assert "Loop" not in kinds
        assert self.shapes(graph.input) == {"steps": [batch or "batch", "steps_1", 3]}
        assert self.shapes(graph.output) == {"dense": [batch or "batch", "dense_1", 2]}

    def test_the_exact_gelu(self, saved: Saved, tmp_path: Path) -> None:
        graph = self.convert(self.work(tmp_path, saved(build_gelu))).graph
        assert "Erf" in {node.op_type for node in graph.node}

    def test_an_op_without_a_form_in_onnx(self, saved: Saved, tmp_path: Path) -> None:
        work = self.work(tmp_path, saved(build_inverse))
        with pytest.raises(PromiseError) as caught:
            conversion.apply(None, work.source, work)
        message = "model 'inverse': ONNX has no form in opset 17 for: MatrixInverse (at '"
        assert caught.value.message.startswith(message)
        assert not work.output.exists()

    def test_the_engines_failure_is_one_sentence(
        self, saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tf2onnx import tf_loader

        def broken(*_: object) -> object:
            raise ValueError("no such thing")

        monkeypatch.setattr(tf_loader, "from_function", broken)
        work = self.work(tmp_path, saved(build_gelu))
        with pytest.raises(PromiseError) as caught:
            conversion.apply(None, work.source, work)
        assert caught.value.message == "model 'gelu': tf2onnx failed: no such thing"

    def test_more_weights_than_a_file_of_tensorflow_holds(
        self, saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_tf2onnx, "_MOST_BYTES", 100)
        work = self.work(tmp_path, saved(build_two))
        with pytest.raises(UsageError) as caught:
            conversion.apply(None, work.source, work)
        assert caught.value.message == (
            "model 'two': has 0.0 GB of weights, and a conversion from Keras takes up to 0.0 GB"
        )

    def test_without_the_engine_the_extra_is_named(
        self, saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "tf2onnx", None)
        work = self.work(tmp_path, saved(build_gelu))
        with pytest.raises(UsageError) as caught:
            conversion.apply(None, work.source, work)
        assert "needs the package 'tf2onnx'" in caught.value.message

    def test_another_model_is_not_proven_equal(self, saved: Saved, tmp_path: Path) -> None:
        work = self.work(tmp_path, saved(build_two))
        model = self.convert(work)
        tensor = max(model.graph.initializer, key=lambda item: len(item.raw_data))
        changed = 1.01 * onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
        work.output.write_bytes(model.SerializeToString())
        with pytest.raises(PromiseError) as caught:
            conversion.verify(None, work.source, artifact(work.output, "onnx"), work)
        assert "of the .onnx differs from the Keras model by" in caught.value.message

    def test_an_input_that_is_lost_is_named(self, saved: Saved, tmp_path: Path) -> None:
        work = self.work(tmp_path, saved(build_gelu))
        model = self.convert(work)
        model.graph.input[0].name = "other"
        for node in model.graph.node:
            node.input[:] = ["other" if name == "given" else name for name in node.input]
        work.output.write_bytes(model.SerializeToString())
        with pytest.raises(PromiseError) as caught:
            conversion.verify(None, work.source, artifact(work.output, "onnx"), work)
        assert caught.value.message == "model 'gelu': input 'other' has no counterpart"

    def test_same_bytes_in_another_process(self, saved: Saved, tmp_path: Path) -> None:
        path = saved(build_two)
        work = self.work(tmp_path, path)
        self.convert(work, Parameters(batch=0))
        here = work.output.read_bytes()
        self.convert(work, Parameters(batch=0))
        assert work.output.read_bytes() == here, "the second of a process"
        code = (
            "from pathlib import Path; from fake_work import FakeWork, artifact;"
            "from edgekit.conversions import keras_to_onnx as c;"
            f"work = FakeWork(Path({str(tmp_path)!r}), artifact(Path({str(path)!r}), 'keras'),"
            "suffix='.onnx'); c.apply(c.Parameters(batch=0), work.source, work)"
        )
        tests = Path(__file__).resolve().parents[2]
        done = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            cwd=tmp_path,
            env={
                "PYTHONPATH": f"{tests}:{tests.parent}",
                "CUDA_VISIBLE_DEVICES": "-1",
                "PYTHONHASHSEED": "7",
            },
        )
        assert (done.stdout, work.output.read_bytes() == here) == (b"", True)
        assert {item.name for item in tmp_path.iterdir()} == {"result.onnx"}

    def test_the_engine_is_left_as_it_was(self, saved: Saved, tmp_path: Path) -> None:
        self.convert(self.work(tmp_path, saved(build_gelu)))
        loaded = [vars(item) for name, item in sys.modules.items() if name.startswith("tf2onnx")]
        assert loaded
        assert not any("set" in names for names in loaded)
        logger = logging.getLogger("tf2onnx")
        assert not any(isinstance(item, _tf2onnx._Collector) for item in logger.handlers)


def test_versions_do_not_import_tensorflow() -> None:
    assert set(conversion.versions()) == {"tensorflow", "keras", "tf-keras", "tf2onnx", "onnx"}

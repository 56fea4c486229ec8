"""Loading, running and tracing Keras models of every kind."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.frameworks.keras import (
    concrete_function,
    graph_names,
    import_keras,
    import_tensorflow,
    import_tf_keras,
    load_model,
    predict,
    quiet,
    save_keras,
    wrap,
)


def test_names_fit_for_a_graph() -> None:
    assert graph_names(["a b", "a b", "/x:0", ""]) == ["a_b", "a_b_1", "x_0", "tensor"]


def test_quiet_hides_descriptors_and_lets_errors_through(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ZeroDivisionError), quiet():
        os.write(1, b"noise")
        os.write(2, b"noise")
        print("noise")
        raise ZeroDivisionError
    print("heard")
    assert capfd.readouterr() == ("heard\n", "")


def test_tensorflow_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(UsageError) as caught:
        load_model(folder)
    assert (caught.value.message, caught.value.hint) == (
        f"{folder} needs the package 'tensorflow', which is not installed",
        "pip install 'edgekit-ml[tensorflow]'",
    )


@pytest.fixture(scope="module")
def two_inputs() -> Any:
    keras = import_keras()
    keras.utils.set_random_seed(0)
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    joined = keras.layers.Concatenate()([left, right])
    outputs = [keras.layers.Dense(n, name=name)(joined) for n, name in ((2, "b"), (5, "a"))]
    return keras.Model([left, right], outputs)


@pytest.mark.tensorflow
def test_a_keras_model_runs_and_traces(two_inputs: Any, tmp_path: Path) -> None:
    path = tmp_path / "model"
    save_keras(two_inputs, path)
    loaded = load_model(path)
    assert loaded.library == "keras"
    assert [(spec.name, spec.shape) for spec in loaded.signature.inputs] == [
        ("left", (None, 4)),
        ("right", (None, 3)),
    ]
    assert [spec.name for spec in loaded.signature.outputs] == ["b", "a"]
    rng = np.random.default_rng(0)
    inputs = tuple(rng.random((300, n), np.float32) for n in (4, 3))
    outputs = predict(loaded, inputs)
    assert [output.shape for output in outputs] == [(300, 2), (300, 5)]
    traced, _module = concrete_function(loaded, 1)
    tf = import_tensorflow()
    result = traced(*(tf.constant(rows[:1]) for rows in inputs))
    assert sorted(result) == ["a", "b"]
    np.testing.assert_allclose(result["b"], outputs[0][:1], rtol=1e-5)
    assert [tuple(spec.shape) for spec in traced.inputs[:2]] == [(1, 4), (1, 3)]
    dynamic, _module = concrete_function(loaded, None)
    assert dynamic.inputs[0].shape[0] is None


@pytest.mark.tensorflow
def test_an_exported_folder_runs_by_its_signature(two_inputs: Any, tmp_path: Path) -> None:
    with quiet():
        two_inputs.export(str(tmp_path / "saved"))
    loaded = load_model(tmp_path / "saved")
    assert loaded.library == "saved_model"
    rng = np.random.default_rng(0)
    inputs = tuple(rng.random((3, spec.shape[1]), np.float32) for spec in loaded.signature.inputs)
    outputs = predict(loaded, inputs)
    assert sorted(output.shape for output in outputs) == [(3, 2), (3, 5)]
    traced, _module = concrete_function(loaded, 1)
    assert sorted(traced.structured_outputs) == sorted(
        spec.name for spec in loaded.signature.outputs
    )


@pytest.mark.tensorflow
def test_files_of_keras_2(tmp_path: Path) -> None:
    tf_keras = import_tf_keras()
    with quiet():
        # A nested Sequential is what Keras 3 does not open from an old file.
        inner = tf_keras.Sequential([tf_keras.layers.Dense(3)])
        data = tf_keras.Input((4,))
        model = tf_keras.Model(data, tf_keras.layers.Dense(2)(inner(data)))
        model.save(str(tmp_path / "m.keras"))
        model.save(str(tmp_path / "m.h5"))
        model.save(str(tmp_path / "saved"))
    rows = np.ones((5, 4), np.float32)
    expected = model(rows).numpy()
    for name in ("m.keras", "m.h5", "saved"):
        loaded = load_model(tmp_path / name)
        assert name == "m.h5" or loaded.library == "tf_keras"
        np.testing.assert_allclose(predict(loaded, (rows,))[0], expected, rtol=1e-6)


@pytest.mark.tensorflow
def test_hard_sigmoid_of_keras_2_stays_what_it_was(tmp_path: Path) -> None:
    """Keras 3 has another slope under the same name, and opens the file without a word."""
    tf_keras = import_tf_keras("a test")
    tf_keras.utils.set_random_seed(0)
    gate = tf_keras.layers.Dense(4, activation="hard_sigmoid")
    model = tf_keras.Sequential([tf_keras.layers.InputLayer((6,)), gate])
    path = tmp_path / "model.h5"
    with quiet():
        model.save(str(path))
    loaded = load_model(path)
    inputs = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    assert loaded.library == "tf_keras"
    np.testing.assert_allclose(predict(loaded, (inputs,))[0], model(inputs), rtol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_custom_layer_is_named(tmp_path: Path, name: str) -> None:
    keras = import_keras()
    swish = type("Swishy", (keras.layers.Layer,), {"call": lambda self, x: x * 2})
    data = keras.Input((4,))
    path = tmp_path / name
    with quiet():
        keras.Model(data, swish()(data)).save(str(path))
    with pytest.raises(UsageError) as caught:
        load_model(path)
    assert caught.value.message == f"{path}: the layer type 'Swishy' is not one of Keras's own"
    assert "model.export(DIR)" in caught.value.hint


@pytest.mark.tensorflow
def test_a_damaged_configuration_is_one_sentence(two_inputs: Any, tmp_path: Path) -> None:
    path, broken = tmp_path / "m.keras", tmp_path / "broken.keras"
    save_keras(two_inputs, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"][2]["inbound_nodes"] = [{"args": 7}]
                data = json.dumps(config).encode()
            new.writestr(name, data)
    with pytest.raises(UsageError) as caught:
        load_model(broken)
    assert caught.value.message.startswith(f"{broken}: Keras cannot open it: ")
    assert "\n" not in caught.value.message


@pytest.mark.tensorflow
def test_a_model_that_was_never_built() -> None:
    keras = import_keras()
    with pytest.raises(UsageError, match="bare: the model does not say the shape of its inputs"):
        wrap(keras.Sequential([keras.layers.Dense(2)], name="bare"))


@pytest.mark.tensorflow
def test_a_fixed_batch_is_kept() -> None:
    keras = import_keras()
    data = keras.Input(batch_shape=(4, 2))
    loaded = wrap(keras.Model(data, keras.layers.Dense(3)(data)))
    assert predict(loaded, (np.ones((6, 2), np.float32),))[0].shape == (6, 3)

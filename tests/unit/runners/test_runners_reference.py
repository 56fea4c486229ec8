"""The reference runner: a model in the framework that it came from."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import relu

from edgekit.core.artifact import Signature
from edgekit.errors import missing_package
from edgekit.runners import reference
from edgekit.runners.reference import Options

NONE = Signature((), ())


def test_a_tflite_file_runs_on_the_reference_kernels(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(relu())
    session = reference.open(path, NONE, Options())
    (y,) = session.run((np.array([[-1, 2]], np.float32),))
    assert y.tolist() == [[0.0, 2.0]]
    (op,) = session.placement().ops
    assert (op.where, op.reason) == ("CPU", "XNNPACK is off (kernels = reference)")


def test_versions_name_only_what_is_installed() -> None:
    assert {"ai-edge-litert", "numpy"} <= set(reference.versions())


def test_without_keras_it_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(needed_for: str) -> None:
        raise missing_package("keras", "tensorflow", needed_for)

    monkeypatch.setattr("edgekit.frameworks.keras.import_keras", absent)
    assert reference.unavailable() == (
        "the reference runner needs the package 'keras', which is not installed: "
        "pip install 'edgekit-ml[tensorflow]'"
    )


@pytest.mark.tensorflow
def test_a_keras_model_runs_in_keras(tmp_path: Path) -> None:
    from edgekit.frameworks.keras import import_keras, quiet

    keras = import_keras()
    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(2, name="y")(inputs))
    with quiet():
        model.save(tmp_path / "m.keras")
        kernel, bias = model.get_weights()
    session = reference.open(tmp_path / "m.keras", NONE, Options())
    x = np.random.default_rng(0).random((5, 3), np.float32)
    (y,) = session.run((x,))
    assert np.allclose(y, x @ kernel + bias, atol=1e-6)
    session.invoke()
    assert session.placement().reason == "TensorFlow does not say which op runs where"
    session.close()
    assert "tensorflow" in sys.modules
    assert reference.unavailable() == ""

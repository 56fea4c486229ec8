"""What a Keras configuration may name; all else is refused before anything loads it."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.frameworks._keras_code import CUSTOM_HINT, Refusal, find_code
from edgekit.frameworks._tf_functions import is_safe_function, is_safe_op

NEVER = "which edgekit never runs from a file"
CODE = f"the layer 'e' holds Python code, {NEVER}"


def _layer(kind: Any, module: Any = None, **config: Any) -> dict[str, Any]:
    item = {"class_name": kind, "config": {"name": "e", **config}, "inbound_nodes": [[["x", 0]]]}
    return item if module is None else {**item, "module": module}


def _function(module: Any, name: Any, registered: Any = "function") -> dict[str, Any]:
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": registered,
        "name": "e",
    }


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (_layer("Lambda", function=["4wEAAAA=", None, None], function_type="lambda"), CODE),
        (_layer("Lambda", "keras.layers", function=_function("builtins", "relu")), CODE),
        (_layer("lambda_layer.Lambda", "tf_keras.src.layers.core"), CODE),
        (_layer("core>Lambda"), CODE),
        ({**_layer("Dense", "keras.layers"), "registered_name": "Lambda"}, CODE),
        (_layer("Dense", activation={"class_name": "__lambda__", "config": {}}), CODE),
        (_layer("TorchModuleWrapper", "keras.layers"), CODE),
        (_function("os", "system"), f"the layer 'e' calls 'os.system', {NEVER}"),
        (_function("builtins", "eval"), f"the layer 'e' calls 'builtins.eval', {NEVER}"),
        (_function("builtins", "none", "eval"), f"the layer 'e' calls 'builtins.none', {NEVER}"),
        (_function("builtins", ["eval"]), f"the layer 'e' calls 'builtins.['eval']', {NEVER}"),
        (
            _function("keras.utils", "get_file"),
            f"the layer 'e' calls 'keras.utils.get_file', {NEVER}",
        ),
        (
            _function("keras.activations", "deserialize"),
            f"the layer 'e' calls 'keras.activations.deserialize', {NEVER}",
        ),
        (
            _function("tf_keras.src.losses", "mse"),
            f"the layer 'e' calls 'tf_keras.src.losses.mse', {NEVER}",
        ),
        (
            _layer("get_file", "keras.utils"),
            f"the layer 'e' calls 'keras.utils.get_file', {NEVER}",
        ),
        (_layer("Popen", "subprocess"), "the layer type 'Popen' is not one of Keras's own"),
        (_layer("eval", "builtins"), "the layer type 'eval' is not one of Keras's own"),
        (_layer("Exception", "builtins"), "the layer type 'Exception' is not one of Keras's own"),
        (_layer("a.Dense"), "the layer type 'a.Dense' is not one of Keras's own"),
        (_layer(["Dense"]), "the layer type '['Dense']' is not one of Keras's own"),
        (_layer("Dense", ["keras"]), "the layer type 'Dense' is not one of Keras's own"),
        (_layer("Dense", "kerasx.layers"), "the layer type 'Dense' is not one of Keras's own"),
        (
            _layer("TFSMLayer", "keras.layers"),
            f"the layer 'e' calls 'keras.layers.TFSMLayer', {NEVER}",
        ),
        (_layer("InstanceMethod", attr_name="x"), f"the layer 'e' calls 'InstanceMethod', {NEVER}"),
        (_layer("ClassMethod"), f"the layer 'e' calls 'ClassMethod', {NEVER}"),
        (
            _layer("TFOpLambda", function="load_op_library"),
            f"the layer 'e' calls 'load_op_library', {NEVER}",
        ),
        (
            _layer("TFOpLambda", function="compat.v1.gfile.MakeDirs"),
            f"the layer 'e' calls 'compat.v1.gfile.MakeDirs', {NEVER}",
        ),
        (_layer("SlicingOpLambda"), f"the layer 'e' calls 'None', {NEVER}"),
        (
            _layer("TensorFlowOpLayer", node_def={"op": "WriteFile"}),
            f"the layer 'e' calls 'WriteFile', {NEVER}",
        ),
        (
            _layer("TensorFlowOpLayer", node_def="\n\x01x"),
            f"the layer 'e' calls 'an op that cannot be read', {NEVER}",
        ),
        ({"name": "e", "module": "os"}, f"the layer '?' calls 'the module os', {NEVER}"),
        (
            {"class_name": "__typespec__", "module": "os", "spec_name": "X", "name": "e"},
            f"the layer 'e' calls 'os.X', {NEVER}",
        ),
        (
            _layer("StringLookup", "keras.layers", vocabulary="/etc/passwd"),
            "the layer 'e' reads the file '/etc/passwd', which edgekit never allows",
        ),
    ],
)
def test_what_is_refused(item: dict[str, Any], problem: str) -> None:
    dense = _layer("Dense")
    found = find_code({"class_name": "Functional", "config": {"layers": [dense, item]}})
    assert found is not None
    assert found.problem == problem
    assert found.hint


def test_a_custom_layer_has_a_way_out() -> None:
    assert find_code([_layer("Mine", "my_layers")]) == Refusal(
        "the layer type 'Mine' is not one of Keras's own", CUSTOM_HINT
    )


@pytest.mark.parametrize(
    "item",
    [
        None,
        _layer("Dense"),
        _layer("Dense", "keras.layers", activation="relu"),
        _layer("Functional", "keras.src.models.functional"),
        _layer("Functional", "tf_keras.src.engine.functional"),
        _layer("Sequential", "keras"),
        _layer("Sin", "keras.src.ops.numpy"),
        _layer("Custom>Mine"),
        _layer("StringLookup", "keras.layers", vocabulary=["a", "b"]),
        _function("builtins", "relu"),
        _function("keras.activations", "relu"),
        _layer("TFOpLambda", function="compat.v1.nn.conv2d"),
        _layer("SlicingOpLambda", function="__operators__.getitem"),
        _layer("TensorFlowOpLayer", node_def={"op": "AddV2", "name": "add"}),
        {"class_name": "__tensor__", "config": {"value": [1.0], "dtype": "float32"}},
        {
            "class_name": "__typespec__",
            "module": "tensorflow.python.framework.tensor",
            "spec_name": "TensorSpec",
        },
    ],
)
def test_what_is_opened(item: Any) -> None:
    assert find_code([item]) is None


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("math.add", True),
        ("compat.v1.transpose", True),
        ("nn.experimental.stateless_dropout", True),
        ("image.resize", True),
        ("io.write_file", False),
        ("compat.v1.compat.v1.reshape", False),
        ("compat.v1.nn.raw_rnn", False),
        ("nn.fixed_unigram_candidate_sampler", False),
        ("nn.rnn_cell.LSTMCell", False),
        ("math.", False),
        ("math.add\n", False),
        ("numpy_function", False),
        (None, False),
        (["math.add"], False),
    ],
)
def test_functions_of_tensorflow(name: object, safe: bool) -> None:
    assert is_safe_function(name) is safe


def test_ops_of_tensorflow() -> None:
    assert is_safe_op("AddV2")
    assert not is_safe_op("ReadFile")
    assert not is_safe_op(None)

"""Writes the small float models in tests/data; needs TensorFlow.

Run it from the repository root: `PYTHONPATH=. python tools/make_test_models.py`.
"""

from __future__ import annotations

from pathlib import Path

from edgekit.conversions import keras_to_tflite
from edgekit.frameworks.keras import concrete_function, import_keras, wrap

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"


def build(keras, activation: str):
    """A net of 8x8x1 images with a convolution, a depthwise one, a pool, and a dense layer."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation=activation, name="conv")(image)
    x = layers.DepthwiseConv2D(3, padding="same", activation=activation, name="depthwise")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="probs")(x))


def main() -> None:
    keras = import_keras("tools/make_test_models.py")
    DATA.mkdir(exist_ok=True)
    for name, activation, batch in (
        ("tiny_float", "relu6", 1),
        ("tiny_dynamic", "relu6", 0),
        ("tiny_leaky", "leaky_relu", 1),
    ):
        model = build(keras, activation)
        parameters = keras_to_tflite.Parameters(batch=batch)
        function, module = concrete_function(wrap(model), batch or None)
        content = keras_to_tflite.convert(parameters, function, module)
        (DATA / f"{name}.tflite").write_bytes(content)
        print(f"{name}.tflite {len(content)}")


if __name__ == "__main__":
    main()

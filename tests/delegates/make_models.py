"""Makes the models beside this file: python tests/delegates/make_models.py (needs TensorFlow)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def _network(tf: Any) -> Any:
    """ADD, MUL, ADD with RELU, MUL in a row; then one ADD behind a convolution."""
    layers = tf.keras.layers
    x = layers.Input((8, 8, 1), batch_size=1)
    a, b = layers.Conv2D(2, 3, padding="same")(x), layers.Conv2D(2, 1)(x)
    c, d = layers.Add()([a, b]), layers.Multiply()([a, b])
    e = layers.ReLU()(layers.Add()([c, d]))
    f = layers.Multiply()([c, e])
    g = layers.Add()([layers.Conv2D(2, 1)(f), f])
    flat = layers.Flatten()(g)
    return tf.keras.Model(x, layers.Softmax()(layers.Dense(10)(flat)))


def main() -> None:
    """Writes sums_float32.tflite and sums_int8.tflite."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(1)
    rng, here, model = np.random.default_rng(1), Path(__file__).parent, _network(tf)
    samples = [[rng.random((1, 8, 8, 1), dtype=np.float32)] for _ in range(32)]
    for dtype in ("float32", "int8"):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if dtype == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: iter(samples)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        (here / f"sums_{dtype}.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main()

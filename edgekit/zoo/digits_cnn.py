"""two convolutions, 13,706 parameters on 8x8x1 (after LeCun et al. 1998)

Small enough to train in about ten seconds; what a first run compresses.
"""

from __future__ import annotations

from typing import Any

from edgekit.core.training import TrainingOptions
from edgekit.frameworks.keras import import_keras
from edgekit.zoo._image import check_image

__all__ = ["SETTINGS", "build"]

SETTINGS = TrainingOptions(epochs=25, batch_size=32, learning_rate=2e-3, patience=8)


def build(input_shape: tuple[int, ...], classes: int) -> Any:
    """Conv 16 - pool - conv 32 - pool - dense 64 - softmax; every convolution 3x3, ReLU.

    Raises:
        UsageError: samples that are no images of at least 4x4, or fewer than two classes.
    """
    check_image("digits-cnn", input_shape, classes, least=4)
    keras = import_keras("zoo:digits-cnn")
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(input_shape, name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(2, name="pool1"),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(2, name="pool2"),
            layers.Flatten(name="flatten"),
            layers.Dense(64, activation="relu", name="dense1"),
            layers.Dense(classes, activation="softmax", name="dense2"),
        ],
        name="digits_cnn",
    )

"""LeNet-5 as in Caffe, 431,080 parameters on 28x28x1 (LeCun et al. 1998)

The net in which the compression literature counts (Deep Compression: 1720 kB to 44 kB).
"""

from __future__ import annotations

from typing import Any

from edgekit.core.training import TrainingOptions
from edgekit.frameworks.keras import import_keras
from edgekit.zoo._image import check_image

__all__ = ["SETTINGS", "build"]

SETTINGS = TrainingOptions(epochs=8, batch_size=64, learning_rate=1e-3, patience=3)


def build(input_shape: tuple[int, ...], classes: int) -> Any:
    """Conv 20 (5x5) - pool - conv 50 (5x5) - pool - dense 500, ReLU - softmax.

    As in Caffe, the convolutions are valid and have no activation of their own.

    Raises:
        UsageError: samples that are no images of at least 16x16, or fewer than two classes.
    """
    check_image("lenet5", input_shape, classes, least=16)
    keras = import_keras("zoo:lenet5")
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(input_shape, name="image"),
            layers.Conv2D(20, 5, name="conv1"),
            layers.MaxPooling2D(2, name="pool1"),
            layers.Conv2D(50, 5, name="conv2"),
            layers.MaxPooling2D(2, name="pool2"),
            layers.Flatten(name="flatten"),
            layers.Dense(500, activation="relu", name="dense1"),
            layers.Dense(classes, activation="softmax", name="dense2"),
        ],
        name="lenet5",
    )

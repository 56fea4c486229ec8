"""depthwise-separable, BatchNorm, ReLU6, 22,218 parameters (Zhang et al. 2017)

"Hello Edge: Keyword Spotting on Microcontrollers", DS-CNN, for images: a convolution that halves
height and width, four depthwise-separable blocks, a global average, one dense layer.
"""

from __future__ import annotations

from typing import Any

from edgekit.core.training import TrainingOptions
from edgekit.frameworks.keras import import_keras
from edgekit.zoo._image import check_image

__all__ = ["SETTINGS", "build"]

SETTINGS = TrainingOptions(epochs=12, batch_size=64, learning_rate=4e-3, patience=4)

_BLOCKS = 4
_CHANNELS = 64


def build(input_shape: tuple[int, ...], classes: int) -> Any:
    """Conv 64 (3x3, stride 2), four blocks of depthwise 3x3 and pointwise 64, average, softmax.

    Raises:
        UsageError: samples that are no images of at least 4x4, or fewer than two classes.
    """
    check_image("ds-cnn", input_shape, classes, least=4)
    keras = import_keras("zoo:ds-cnn")
    layers = keras.layers
    image = keras.Input(input_shape, name="image")
    conv = layers.Conv2D(_CHANNELS, 3, 2, padding="same", use_bias=False, name="conv1")
    x = _normalised(layers, conv(image), "conv1")
    for block in range(1, _BLOCKS + 1):
        x = _separable(layers, x, block)
    x = layers.GlobalAveragePooling2D(name="pool1")(x)
    x = layers.Dense(classes, activation="softmax", name="dense1")(x)
    return keras.Model(image, x, name="ds_cnn")


def _separable(layers: Any, x: Any, block: int) -> Any:
    """A depthwise 3x3 and a pointwise convolution, each with BatchNorm and ReLU6."""
    depthwise, pointwise = f"depthwise{block}", f"conv{block + 1}"
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=depthwise)(x)
    x = _normalised(layers, x, depthwise)
    x = layers.Conv2D(_CHANNELS, 1, use_bias=False, name=pointwise)(x)
    return _normalised(layers, x, pointwise)


def _normalised(layers: Any, x: Any, name: str) -> Any:
    """BatchNorm and ReLU6. The momentum lets the statistics settle within one short epoch."""
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)

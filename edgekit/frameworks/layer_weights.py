"""The weights of Keras convolutions and dense layers, read and changed channel by channel."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["LayerWeights", "activation_of", "has_channels", "why_not"]

_PLAIN = frozenset({"Dense", "Conv1D", "Conv2D", "Conv3D"})
_DEPTHWISE = frozenset({"DepthwiseConv1D", "DepthwiseConv2D"})
_TRANSPOSED = frozenset({"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"})
_SEPARABLE = frozenset({"SeparableConv1D", "SeparableConv2D"})
_KINDS = _PLAIN | _DEPTHWISE | _TRANSPOSED | _SEPARABLE


def has_channels(layer: Any) -> bool:
    """True for a dense layer or convolution of Keras itself: plain, depthwise, separable, ..."""
    return type(layer).__name__ in _KINDS and type(layer).__module__.startswith("keras.")


def why_not(layer: Any) -> str:
    """Why the weights of a layer cannot be taken channel by channel, '' where they can."""
    if not has_channels(layer):
        return f"{type(layer).__name__} '{layer.name}' is no convolution or dense layer"
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return f"'{layer.name}' has its channels first"
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        return f"'{layer.name}' has no plain weights (it is quantized, or has LoRA)"
    return ""


def activation_of(layer: Any) -> str:
    """The name of the activation that a layer applies; '' where it has no name."""
    config = layer.get_config().get("activation", "linear")
    if isinstance(config, str):
        return config
    if isinstance(config, Mapping):
        held = config.get("config")
        return held if isinstance(held, str) else ""
    return "linear" if config is None else ""


@dataclass(eq=False)
class _Kernel:
    """One kernel as (positions, inputs of a group, groups, outputs of a group).

    Channel `group * size + index`; a plain kernel has one group, a depthwise one a group a channel.
    """

    values: Floats
    stored: tuple[int, ...]
    transposed: bool = False

    @classmethod
    def read(cls, array: Any, *, groups: int = 1, transposed: bool = False) -> _Kernel:
        import numpy as np

        values = np.asarray(array, np.float64)
        values = values.swapaxes(-1, -2) if transposed else values
        inputs, outputs = values.shape[-2:]
        grouped = values.reshape(-1, inputs, groups, outputs // groups)
        return cls(grouped.copy(), tuple(values.shape), transposed)

    @classmethod
    def depthwise(cls, array: Any) -> _Kernel:
        import numpy as np

        values = np.asarray(array, np.float64)
        return cls(values.reshape(-1, 1, *values.shape[-2:]).copy(), tuple(values.shape))

    def write(self) -> Floats:
        values = self.values.reshape(self.stored)
        return values.swapaxes(-1, -2) if self.transposed else values

    def by_input(self, factors: Floats) -> Floats:
        """One factor for each input channel, shaped to multiply the kernel with."""
        _, inputs, groups, _ = self.values.shape
        return factors.reshape(groups, inputs).T[None, :, :, None]

    def by_output(self, factors: Floats) -> Floats:
        """Likewise for each output channel."""
        _, _, groups, outputs = self.values.shape
        return factors.reshape(1, 1, groups, outputs)


class LayerWeights:
    """The kernel and bias of one layer in float64; the layer itself stays as it is."""

    def __init__(self, layer: Any) -> None:
        import numpy as np

        self.layer = layer
        arrays = layer.get_weights()
        self._kernels = _kernels(layer, arrays)
        self.bias: Floats = (
            np.asarray(arrays[-1], np.float64) if layer.use_bias else np.zeros(self.outputs)
        )

    @property
    def outputs(self) -> int:
        """The number of output channels."""
        return int(self._kernels[-1].values.shape[2] * self._kernels[-1].values.shape[3])

    @property
    def inputs(self) -> int:
        """The number of input channels."""
        return int(self._kernels[0].values.shape[1] * self._kernels[0].values.shape[2])

    def scale_outputs(self, factors: Floats, shifts: Floats | None = None) -> None:
        """Makes the layer compute `factors * output + shifts`."""
        kernel = self._kernels[-1]
        kernel.values = kernel.values * kernel.by_output(factors)
        self.bias = self.bias * factors
        if shifts is not None:
            self.bias = self.bias + shifts

    def scale_inputs(self, factors: Floats) -> None:
        """Makes the layer compute what it did of `factors * input`."""
        kernel = self._kernels[0]
        kernel.values = kernel.values * kernel.by_input(factors)

    def shift_inputs(self, shifts: Floats) -> None:
        """Makes the layer compute what it did of `input + shifts`, where nothing is padded."""
        moved = shifts
        for kernel in self._kernels:
            moved = (kernel.values * kernel.by_input(moved)).sum((0, 1)).ravel()
        self.bias = self.bias + moved

    def output_peaks(self) -> Floats:
        """The largest absolute weight of each output channel."""
        import numpy as np

        peaks: Floats = np.abs(self._kernels[-1].values).max((0, 1)).ravel()
        return peaks

    def input_peaks(self) -> Floats:
        """The largest absolute weight that each input channel meets."""
        import numpy as np

        peaks: Floats = np.abs(self._kernels[0].values).max((0, 3)).T.ravel()
        return peaks

    def reduced(self) -> LayerWeights:
        """A copy with the largest absolute weight over the kernel's positions: factors can be
        found on it, in much less time."""
        import numpy as np

        made = copy.copy(self)
        made._kernels = [
            replace(kernel, values=np.abs(kernel.values).max(0, keepdims=True))
            for kernel in self._kernels
        ]
        return made

    def round_to(self, bits: int, *, per_channel: bool) -> None:
        """Rounds each kernel to what symmetric integers of so many bits hold.

        The first kernel of a separable layer becomes an op of its own, with its own scales.
        """
        import numpy as np

        most = 2 ** (bits - 1) - 1
        for kernel in self._kernels:
            axes = (0, 1) if per_channel else None
            peaks = np.abs(kernel.values).max(axis=axes, keepdims=True)
            steps = np.where(peaks > 0, peaks, 1.0) / most
            kernel.values = np.clip(np.round(kernel.values / steps), -most, most) * steps

    def config(self) -> dict[str, Any]:
        """The layer's config, with a bias."""
        return {**self.layer.get_config(), "use_bias": True}

    def store(self, layer: Any) -> None:
        """Writes kernel and bias into a layer: the same one, or one made from `config()`."""
        assert layer.use_bias or not self.bias.any(), f"'{layer.name}' has no bias to write to"
        bias = [self.bias] if layer.use_bias else []
        layer.set_weights([*(kernel.write() for kernel in self._kernels), *bias])


def _kernels(layer: Any, arrays: list[Any]) -> list[_Kernel]:
    kind = type(layer).__name__
    if kind in _SEPARABLE:
        return [_Kernel.depthwise(arrays[0]), _Kernel.read(arrays[1])]
    if kind in _DEPTHWISE:
        return [_Kernel.depthwise(arrays[0])]
    groups = int(getattr(layer, "groups", 1) or 1)
    return [_Kernel.read(arrays[0], groups=groups, transposed=kind in _TRANSPOSED)]

"""The array that every image becomes: by the model's input, the options, and the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.core.artifact import InputScaling, Signature
from edgekit.errors import UsageError

__all__ = ["Frame", "Options", "frame_of"]


@dataclass(frozen=True)
class Options:
    """What cannot be read from the model's input.

    `size` is height and width (or one number for both) where the model does not say; `channels` is
    1 (grey) or 3 (colour). `resize` brings an image to that size: `stretch` changes its
    proportions, `crop` cuts what stands over in the middle, `pad` fills up with black.

    `layout` says where the channels are, `nhwc` (last) or `nchw` (first), where the model's input
    leaves it open; `order` is that of the channels. `mean` and `std` are those that the model was
    trained with, of values from 0 to 1, one or one a channel: it takes (value / 255 - mean) / std.
    """

    size: tuple[int, ...] = ()
    channels: int | None = None
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    layout: Literal["nhwc", "nchw"] | None = None
    order: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.size) > 2 or any(not 1 <= side <= 8192 for side in self.size):
            raise ValueError(f"size must be one or two numbers from 1 to 8192, not {self.size}")
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1 or 3, not {self.channels}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, 1, 3):
                raise ValueError(f"{name} must be one number, or one a channel, not {list(values)}")
        if any(not 0 < value <= 1 for value in self.std):
            raise ValueError(f"std must be above 0 and at most 1, not {list(self.std)}")
        if any(not 0 <= value <= 1 for value in self.mean):
            raise ValueError(f"mean must be from 0 to 1, not {list(self.mean)}")

    @property
    def scaling(self) -> InputScaling | None:
        """What `mean` and `std` make of values from 0 to 255; None where neither is given."""
        if not self.mean and not self.std:
            return None
        count = max(len(self.mean), len(self.std))
        mean, std = (
            values * (count // len(values)) for values in (self.mean or (0.0,), self.std or (1.0,))
        )
        return InputScaling(
            scale=tuple(1 / (255 * s) for s in std),
            offset=tuple(-m / s for m, s in zip(mean, std, strict=True)),
            low=0.0,
            high=255.0,
        )


@dataclass(frozen=True)
class Frame:
    """The array that every image becomes."""

    height: int
    width: int
    channels: int
    axes: Literal["last", "first", "none"]
    resize: str
    order: str

    @property
    def shape(self) -> tuple[int, ...]:
        if self.axes == "none":
            return (self.height, self.width)
        if self.axes == "first":
            return (self.channels, self.height, self.width)
        return (self.height, self.width, self.channels)


def frame_of(
    options: Options,
    signature: Signature | None,
    *,
    sizes: set[tuple[int, int]],
    is_grey: bool,
    where: str,
) -> Frame:
    """What the model's input says, then the options, then the images that were found.

    Raises:
        UsageError: an input that is no image or not of that layout, or no size to resize to.
    """
    shape = signature.inputs[0].sample_shape if signature is not None else (None, None, None)
    if len(shape) not in (2, 3):
        raise UsageError(f"{where}: the model's input {shape} is no image")
    height: int | None
    width: int | None
    channels: int | None
    axes = _channel_axis(options, shape, where)
    if axes == "none":
        (height, width), channels = shape, 1
    elif axes == "first":
        channels, height, width = shape
    else:
        height, width, channels = shape
    if channels not in (None, 1, 3):
        raise UsageError(f"{where}: the model's input {shape} has {channels} channels, not 1 or 3")
    if height is None or width is None:
        height, width = _size(options, sizes, where)
    channels = channels or options.channels or (1 if is_grey else 3)
    return Frame(height, width, channels, axes, options.resize, options.order)


def _channel_axis(
    options: Options, shape: tuple[int | None, ...], where: str
) -> Literal["last", "first", "none"]:
    """By the model's own sizes; by the options where these fit both layouts or none."""
    if len(shape) == 2:
        return "none"
    if options.layout is None:
        return "first" if shape[0] in (1, 3) and shape[2] not in (1, 3) else "last"
    if shape[0 if options.layout == "nchw" else 2] not in (None, 1, 3):
        raise UsageError(
            f"{where}: the model's input {shape} is not {options.layout}",
            hint="leave layout out of --data-options",
        )
    return "first" if options.layout == "nchw" else "last"


def _size(options: Options, sizes: set[tuple[int, int]], where: str) -> tuple[int, int]:
    if options.size:
        return options.size[0], options.size[-1]
    if len(sizes) > 1:
        raise UsageError(
            f"{where}: images have {len(sizes)} sizes, and no model says which to take",
            hint="--data-options size=[HEIGHT,WIDTH]",
        )
    return next(iter(sizes))

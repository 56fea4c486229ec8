"""What every zoo model asks of its input, and how it says no."""

from __future__ import annotations

from edgekit.errors import UsageError

__all__ = ["check_image"]


def check_image(model: str, input_shape: tuple[int, ...], classes: int, *, least: int) -> None:
    """Refuses what the model cannot be built for: `least` is its smallest height and width.

    Raises:
        UsageError: samples that are not images, too small, or fewer than two classes.
    """
    shape = "x".join(str(size) for size in input_shape) or "a single number"
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise UsageError(
            f"zoo:{model}: takes images (height x width x channels), but a sample is {shape}",
            hint="give images, with the channels as the last axis",
        )
    if min(input_shape[:2]) < least:
        raise UsageError(
            f"zoo:{model}: takes images of at least {least}x{least}, but a sample is {shape}",
            hint="take larger images, or a zoo model for smaller ones",
        )
    if classes < 2:
        raise UsageError(
            f"zoo:{model}: sorts into at least 2 classes, but the data has {classes}",
            hint="check the labels",
        )

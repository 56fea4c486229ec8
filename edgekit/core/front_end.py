"""preprocess.json: how a file becomes a model's input, and its output an answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from edgekit.core.strict_json import build_strictly, dump_json, parse_json

__all__ = [
    "ArrayInput",
    "AudioInput",
    "Axes",
    "BoxesOutput",
    "ClassesOutput",
    "CtcOutput",
    "FrontEnd",
    "ImageInput",
    "Input",
    "Output",
    "Scaling",
    "TableInput",
    "ValuesOutput",
]

_MOST_PIXELS = 50_000_000
_OPTIONAL: dict[str, Any] = {"optional": True}
Axes = Literal["last", "first", "none"]
Activation = Literal["none", "softmax", "sigmoid"]


@dataclass(frozen=True)
class ImageInput:
    """An image file, as `edgekit/datasets/images.py` reads it: 8 bits a channel, 0 to 255.

    `is_assumed` says that nobody told edgekit so: the input only has the shape of an image.
    `levels` are what 0 and 255 become before the scaling, where the model was trained on samples of
    another range, such as 0 to 16.
    """

    kind: Literal["image"]
    height: int
    width: int
    channels: int
    axes: Axes
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    order: Literal["rgb", "bgr"] = "rgb"
    is_assumed: bool = False
    levels: tuple[float, ...] = field(default=(0.0, 255.0), metadata=_OPTIONAL)

    def __post_init__(self) -> None:
        if len(self.levels) != 2 or self.levels[0] >= self.levels[1]:
            raise ValueError(f"levels must be two numbers, dark before bright, not {self.levels}")
        if self.height < 1 or self.width < 1 or self.height * self.width > _MOST_PIXELS:
            raise ValueError(f"no image has {self.height} x {self.width} pixels")
        if self.channels not in (1, 3) or (self.axes == "none" and self.channels != 1):
            raise ValueError(f"channels must be 1 or 3, and 1 without an axis, not {self.channels}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        if self.axes == "none":
            return (self.height, self.width)
        if self.axes == "first":
            return (self.channels, self.height, self.width)
        return (self.height, self.width, self.channels)


@dataclass(frozen=True)
class TableInput:
    """A row of numbers with named columns: (value - mean) / std where these are given."""

    kind: Literal["table"]
    columns: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    is_assumed: bool = False

    def __post_init__(self) -> None:
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise ValueError("columns must be names, each once")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != len(self.columns):
                raise ValueError(f"{name} has {len(values)} values for {len(self.columns)} columns")
        if any(value <= 0 for value in self.std or ()):
            raise ValueError("std must be above 0")


@dataclass(frozen=True)
class AudioInput:
    """A wav file as log-mel energies, or with `coefficients` their cepstrum (MFCC)."""

    kind: Literal["audio"]
    sample_rate: int
    window_ms: float
    stride_ms: float
    fft: int
    mels: int
    low_hz: float
    high_hz: float
    coefficients: int
    log_floor: float
    seconds: float
    axes: Axes
    is_assumed: bool = False

    def __post_init__(self) -> None:
        if not 1000 <= self.sample_rate <= 384_000:
            raise ValueError(f"sample_rate must be 1000 to 384000, not {self.sample_rate}")
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate / 2:
            raise ValueError("low_hz must be below high_hz, and that at most half the sample_rate")
        if not 0 < self.stride_ms <= 10_000 or not 0 < self.window_ms <= 10_000:
            raise ValueError("window_ms and stride_ms must be above 0 and at most 10000")
        if not self.window_ms * self.sample_rate / 1000 <= self.fft <= 2**16:
            raise ValueError(f"fft must hold a window and be at most 65536, not {self.fft}")
        if not 1 <= self.mels <= 1024 or not 0 <= self.coefficients <= self.mels:
            raise ValueError("mels must be 1 to 1024, and coefficients at most as many")
        if not 0 < self.seconds <= 3600 or self.log_floor <= 0:
            raise ValueError("seconds must be above 0 and at most 3600, log_floor above 0")


@dataclass(frozen=True)
class ArrayInput:
    """Raw values from a .npy, .npz or .csv of numbers, in the shape of one sample."""

    kind: Literal["array"]
    is_assumed: bool = False


Input = ImageInput | TableInput | AudioInput | ArrayInput


@dataclass(frozen=True)
class Scaling:
    """model input = raw * scale + offset; one value, or one a channel."""

    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        if not self.scale or not self.offset or 0.0 in self.scale:
            raise ValueError("scale must not be 0 or empty, and offset not empty")


@dataclass(frozen=True)
class ClassesOutput:
    """One score a class (or one number for two): the best `top_k`, those below `threshold` not.

    `index` is the position of the output that has the scores, in the model's order.
    """

    kind: Literal["classes"]
    activation: Activation = "none"
    top_k: int = 5
    threshold: float | None = None
    index: int = field(default=0, metadata=_OPTIONAL)

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= 1_000_000 or self.index < 0:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}, and index not negative")


@dataclass(frozen=True)
class ValuesOutput:
    """The numbers themselves: regression, reconstruction, embedding."""

    kind: Literal["values"]
    activation: Activation = "none"
    index: int = field(default=0, metadata=_OPTIONAL)

    def __post_init__(self) -> None:
        if self.index < 0:
            raise ValueError("index must not be negative")


@dataclass(frozen=True)
class BoxesOutput:
    """Detections: which output is what, and how the four numbers of a box are meant."""

    kind: Literal["boxes"]
    order: tuple[Literal["boxes", "classes", "scores", "count"], ...]
    form: Literal["yxyx", "xyxy"]
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not {"boxes", "scores"} <= set(self.order) or len(set(self.order)) < len(self.order):
            raise ValueError("order must have boxes and scores, and each word once")


@dataclass(frozen=True)
class CtcOutput:
    """Text by greedy decoding: repeats joined, then the blank class left out."""

    kind: Literal["ctc"]
    blank: int = 0
    index: int = field(default=0, metadata=_OPTIONAL)

    def __post_init__(self) -> None:
        if self.blank < 0 or self.index < 0:
            raise ValueError("blank and index must not be negative")


Output = ClassesOutput | ValuesOutput | BoxesOutput | CtcOutput


@dataclass(frozen=True)
class FrontEnd:
    """The content of preprocess.json."""

    input: Input
    scaling: Scaling
    output: Output

    @classmethod
    def from_json(cls, data: bytes, *, where: str) -> FrontEnd:
        """Reads preprocess.json.

        Raises:
            UsageError: not JSON, an unknown key, or a value of another type or out of its range.
        """
        front_end: FrontEnd = build_strictly(cls, parse_json(data, where=where), where=where)
        return front_end

    def to_json(self) -> bytes:
        """Its canonical bytes."""
        return dump_json(self)

"""The manifest of a bundle: what is in it, for which target, and what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.core.artifact import Quantization, Signature, TensorSpec
from edgekit.core.device import Delegate
from edgekit.core.strict_json import build_strictly, dump_json, parse_json
from edgekit.core.target import Board
from edgekit.errors import UsageError

__all__ = [
    "SCHEMA",
    "SUFFIX",
    "Accuracy",
    "BundledModel",
    "BundledTarget",
    "Golden",
    "Latency",
    "Manifest",
    "Measured",
    "Memory",
    "Metrics",
    "Tensor",
    "Tolerance",
    "is_safe_name",
]

SCHEMA = "edgekit-bundle/1"
SUFFIX = ".ekb"
_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,3}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SCHEMA_TEXT = re.compile(r"edgekit-bundle/([1-9][0-9]{0,5})", re.ASCII)
_MOST_NAME = 200
_DTYPES = frozenset(
    {"float16", "float32", "float64", "bool"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


def is_safe_name(name: str) -> bool:
    """Whether a name inside a bundle stays inside the folder that it is unpacked to."""
    parts = name.split("/")
    return len(name) <= _MOST_NAME and bool(_NAME.fullmatch(name)) and not {".", ".."} & {*parts}


@dataclass(frozen=True)
class BundledModel:
    """The model's file and those beside it; `digest` is of the content, `sha256` of the file."""

    file: str
    format: str
    digest: str
    sha256: str
    size_bytes: int
    parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_names(self.file, *self.parts)
        if "/" in self.file:
            raise ValueError(f"the model's file must lie at the top, not at '{self.file}'")
        for text in (self.digest, self.sha256):
            if not _DIGEST.fullmatch(text):
                raise ValueError(f"'{text[:70]}' is no digest")


@dataclass(frozen=True)
class Tensor:
    """An input or output; null is an open axis, and a scale that is not there."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None
    zero_point: int | None

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ValueError(f"'{self.dtype[:40]}' is no type of a tensor")
        if any(size is not None and size < 0 for size in self.shape) or len(self.shape) > 16:
            raise ValueError(f"{list(self.shape)[:17]} is no shape")
        if (self.scale is None) != (self.zero_point is None):
            raise ValueError("scale and zero_point go together")
        if self.scale is not None and self.scale <= 0:
            raise ValueError(f"scale must be above 0, not {self.scale:g}")

    @classmethod
    def of(cls, spec: TensorSpec) -> Tensor:
        """The same as a signature has it."""
        own = spec.quantization
        scale, zero = (None, None) if own is None else (float(own.scale), int(own.zero_point))
        return cls(spec.name, spec.shape, spec.dtype, scale, zero)

    @property
    def spec(self) -> TensorSpec:
        """As a signature has it."""
        if self.scale is None or self.zero_point is None:
            return TensorSpec(self.name, self.shape, self.dtype)
        own = Quantization(self.scale, self.zero_point)
        return TensorSpec(self.name, self.shape, self.dtype, own)


@dataclass(frozen=True)
class BundledTarget:
    """What `run.py` needs to know of the target.

    `machines` are values of `platform.machine()` (none: any), `runtimes` modules in the order in
    which they are tried, as `delegates` are before the CPU; `min_delegated` is the share of the ops
    that must not run on plain CPU kernels.
    """

    name: str
    machines: tuple[str, ...]
    threads: int
    options: Mapping[str, Any]
    runtimes: tuple[str, ...]
    delegates: tuple[Delegate, ...]
    min_delegated: float | None

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            raise ValueError(f"threads must be from 1 to 64, not {self.threads}")
        if self.min_delegated is not None and not 0 <= self.min_delegated <= 1:
            raise ValueError(f"min_delegated must be from 0 to 1, not {self.min_delegated:g}")


@dataclass(frozen=True)
class Measured:
    """The largest difference from the golden kernels that was seen here, over `samples`."""

    lsb: int
    relative: float
    samples: int


@dataclass(frozen=True)
class Tolerance:
    """How far outputs may be from the golden ones: in steps of an integer output, and relative to
    the largest value of a float one. `why` says what widened it, `measured` what was seen here."""

    lsb: int
    relative: float
    measured: Measured | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if self.lsb < 0 or self.relative < 0:
            raise ValueError("a tolerance cannot be negative")


@dataclass(frozen=True)
class Golden:
    """Inputs with the outputs that are expected of them, and the tolerance of each runtime."""

    count: int
    source: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kernels: str
    made_with: str
    tolerance: Mapping[str, Tolerance]

    def __post_init__(self) -> None:
        _check_names(*self.inputs, *self.outputs)
        if not 1 <= self.count <= 1_000_000:
            raise ValueError(f"count must be at least 1, not {self.count}")


@dataclass(frozen=True)
class Accuracy:
    """The metric on the test split, with its 95 % interval."""

    metric: str
    value: float
    ci95: tuple[float, ...]
    n: int

    def __post_init__(self) -> None:
        if len(self.ci95) != 2:
            raise ValueError("ci95 must be two numbers")


@dataclass(frozen=True)
class Latency:
    """The median time of one inference on the machine that compressed the model."""

    median_ns: int
    where: str


@dataclass(frozen=True)
class Memory:
    """The peak of a fresh process that ran only this model."""

    peak_bytes: int
    where: str


@dataclass(frozen=True)
class Metrics:
    """What was measured of the model with this digest; null is what was not."""

    digest: str
    accuracy: Accuracy | None
    latency: Latency | None
    memory: Memory | None
    size_bytes: int
    data: str | None


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json."""

    schema: str
    name: str
    made_by: str
    model: BundledModel
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    target: BundledTarget
    boards: tuple[Board, ...]
    preprocess: str
    labels: str | None
    golden: Golden
    metrics: Metrics | None

    def __post_init__(self) -> None:
        _check_names(self.preprocess, *([self.labels] if self.labels else []))
        pairs = ((self.inputs, self.golden.inputs), (self.outputs, self.golden.outputs))
        if not self.inputs or any(len(own) != len(files) for own, files in pairs):
            raise ValueError("golden must have one file for each input and each output")
        if self.metrics is not None and self.metrics.digest != self.model.digest:
            raise ValueError("the metrics are those of another model")

    @property
    def signature(self) -> Signature:
        """The inputs and outputs of the model."""
        return Signature(tuple(t.spec for t in self.inputs), tuple(t.spec for t in self.outputs))

    @property
    def names(self) -> frozenset[str]:
        """The files that it names, which must be in the bundle."""
        optional = (self.labels,) if self.labels else ()
        golden = (*self.golden.inputs, *self.golden.outputs)
        return frozenset((self.model.file, *self.model.parts, self.preprocess, *optional, *golden))

    @classmethod
    def from_json(cls, data: bytes, *, where: str) -> Manifest:
        """Reads manifest.json.

        Raises:
            UsageError: not JSON, a newer schema, an unknown key, a value of another type or out of
                its range.
        """
        table = parse_json(data, where=where)
        _check_schema(table, where)
        manifest: Manifest = build_strictly(cls, table, where=where)
        return manifest

    def to_json(self) -> bytes:
        """Its canonical bytes."""
        return dump_json(self)


def _check_schema(table: Any, where: str) -> None:
    """Before all else: of a newer schema, every other complaint would mislead."""
    schema = table.get("schema") if isinstance(table, dict) else None
    match = _SCHEMA_TEXT.fullmatch(schema) if isinstance(schema, str) else None
    if match is None:
        raise UsageError(f"{where}: is no manifest of edgekit's", hint="make the bundle again")
    if schema != SCHEMA:
        raise UsageError(
            f"{where}: has the schema {schema}, and this edgekit knows {SCHEMA}",
            hint="update edgekit, or make the bundle again with this one",
        )


def _check_names(*names: str) -> None:
    for name in names:
        if not is_safe_name(name):
            raise ValueError(f"'{name[:80]}' is no name of a file in a bundle")

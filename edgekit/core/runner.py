"""The seam to a runtime: open a model file, run it, say which op runs where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgekit.core.artifact import Signature

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["PLAIN_CPU", "Attempt", "OpPlacement", "OpTime", "Placement", "Runner", "Session"]


PLAIN_CPU = "CPU"
"""What every runner calls the runtime's own kernels, which no delegate or provider took."""


@dataclass(frozen=True)
class OpPlacement:
    """Where one op runs, read from the runtime; `reason` says why it is not accelerated."""

    index: int
    kind: str
    where: str
    dtype: str
    reason: str = ""


@dataclass(frozen=True)
class Attempt:
    """A delegate or runtime that was to run a model, and why it does not where it is not `ok`."""

    what: str
    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class Placement:
    """Every op with the place it runs at; empty, with the reason, where a runtime cannot tell.

    `attempts` is what was tried in turn until one opened the model, where there was a choice.
    """

    ops: tuple[OpPlacement, ...]
    reason: str = ""
    attempts: tuple[Attempt, ...] = ()

    @property
    def delegated(self) -> float | None:
        """The share of ops that do not run on the plain kernels of the CPU; None: nobody knows."""
        if not self.ops:
            return None
        return sum(op.where != PLAIN_CPU for op in self.ops) / len(self.ops)


@dataclass(frozen=True)
class OpTime:
    """The time that one op took in all calls of a profile, as the runtime's own profiler says."""

    name: str
    kind: str
    where: str
    calls: int
    total_ns: int


class Session(Protocol):
    """One opened model. `run` takes samples, `invoke` repeats the last inference for timing.

    A runtime that lets one see its arena also has `arena() -> (bytes, least bytes)`. One with a
    profiler has `profile(runs) -> tuple[OpTime, ...]`: the ops of the last
    sample's inference by their time, the longest first.
    """

    signature: Signature

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Runs N >= 1 samples (axis 0) in the model's own dtypes and returns N outputs."""

    def invoke(self) -> object:
        """Runs the last sample once more; copies nothing in or out. This is what gets timed."""

    def placement(self) -> Placement:
        """Says which op runs where, as the runtime itself reports it."""

    def close(self) -> None:
        """Gives back what the runtime holds."""


class Runner(Protocol):
    """What a module in `edgekit/runners/` has; `Options` is a frozen dataclass of its options.

    `REFERENCE`, where a runtime has kernels whose integers are the same on every machine, are the
    options that ask for them. `products(options, path, *, inputs, outputs, ask)`, where a model is
    built into something else there, gives the files of that by name, with golden samples; `ask()`
    has the target itself answer them, and says how many bytes it needs.
    """

    FORMATS: tuple[str, ...]
    PREDICTS: tuple[str, ...]
    """The formats for which a pass's `Work.predict` takes this runner."""
    MODULES: tuple[str, ...]
    """The Python modules that run the same on a device, the best first (`on_device/run.py`)."""
    FRAMEWORKS: frozenset[str]
    """Heavy frameworks that it may load; any other spoils a measurement."""
    UNREAL: str
    """Why nothing that is measured on this runner counts; '' for a real one."""
    Options: type

    def open(self, path: Path, signature: Signature, options: object) -> Session:
        """Opens a model file.

        Raises:
            UsageError: the runtime cannot load this file (unknown op, version), named.
        """

    def unavailable(self) -> str:
        """Returns '' where the runtime really works here, else why not and what installs it."""

    def versions(self) -> Mapping[str, str]:
        """The packages whose versions change this runtime's results."""

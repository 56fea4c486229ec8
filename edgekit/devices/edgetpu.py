"""A Coral Edge TPU: rules checked, compiled where edgetpu_compiler is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.device import Link, Progress

__all__ = [
    "FIGURES",
    "Options",
    "connect",
    "describe",
    "install",
    "products",
    "unavailable",
    "untimed",
]

FIGURES = True
OP_TABLE = "edgetpu-compiler-16"


@dataclass(frozen=True)
class Options:
    """None: there is one Edge TPU."""


def untimed(options: Options) -> str:
    """Nothing runs on it here."""
    return "the Edge TPU is not executed here: no timing"


def unavailable(options: Options) -> str:
    """Its rules can always be checked; what was not compiled says so."""
    return ""


def install(options: Options, progress: Progress) -> None:
    """Nothing: edgetpu_compiler is Google's, and on no package index."""


def connect(options: Options) -> Link:
    """Opens a folder beside which a server looks at each model that it opens.

    Raises:
        UnmeasuredError: there is no room for a folder.
    """
    from edgekit.devices._vela_link import ServerLink

    return ServerLink("edgekit.devices._edgetpu_serve", "", device="the Edge TPU's server")


def describe(options: Options) -> str:
    """What looks at a model, and that nothing was executed."""
    from edgekit.devices import _edgetpu_compile as compiler

    if compiler.find() is not None:
        return f"compiled by {compiler.PROGRAM} for the Edge TPU; not executed"
    return f"Edge TPU by its compiler's documentation: {compiler.PROGRAM} is not on PATH"


def products(options: Options, path: Path) -> Mapping[str, Path]:
    """The compiled model; nothing without the compiler, or where it mapped no op.

    Raises:
        UnmeasuredError: the compiler fails.
    """
    from edgekit.devices import _edgetpu_compile as compiler
    from edgekit.devices._edgetpu_rules import NPU

    program = compiler.find()
    made = compiler.compile_model(path, program) if program else None
    if made is None or not any(row[2] == NPU for row in made.rows):
        return {}
    return {"model_edgetpu.tflite": made.model}

"""Heavy packages, imported where they are needed and never before."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from edgekit.errors import missing_package

__all__ = ["HEAVY", "is_installed", "require", "version"]

HEAVY = frozenset(
    {"tensorflow", "keras", "tf_keras", "onnx", "onnxruntime", "jax", "torch", "scipy"}
    | {"litert_quantizer", "ai_edge_litert", "numpy", "matplotlib", "h5py"}
)
"""Top-level packages that `--help`, `list` and `explain` must never import."""


def require(module: str, *, extra: str, needed_for: str) -> Any:
    """Imports `module`, or raises a usage error that says the exact `pip install`.

    Only a package that is really absent becomes a usage error; one that is there and broken
    raises its own ImportError, because hiding that would send the user the wrong way.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] == top:
            raise missing_package(top, extra, needed_for) from None
        raise


def is_installed(module: str) -> bool:
    """Says whether a top-level package can be found, without importing it."""
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


def version(distribution: str) -> str:
    """The installed version of a distribution, '' where it is not installed.

    `importlib.metadata` is imported here: it takes longer than `edgekit explain` may take in all.
    """
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""

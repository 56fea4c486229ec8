"""Compress machine-learning models for edge devices, and prove what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.version import __version__

if TYPE_CHECKING:
    from edgekit.api import bench, compress, convert, inspect, validate

__all__ = ["__version__", "bench", "compress", "convert", "inspect", "validate"]


def __getattr__(name: str) -> Any:
    """Imports the Python interface on first use, so that `import edgekit` stays light."""
    if name in __all__:
        from edgekit import api

        return getattr(api, name)
    raise AttributeError(f"module 'edgekit' has no attribute '{name}'")

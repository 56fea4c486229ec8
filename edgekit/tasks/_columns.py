"""A column of small numbers that grows batch by batch: a few bytes a sample."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Column"]


class Column:
    """Values of one array typecode ('i', 'f', 'd', 'b'), appended in batches."""

    def __init__(self, typecode: str) -> None:
        self._values = array(typecode)

    def extend(self, values: NDArray[Any]) -> None:
        """Appends every value of an array, converted to this column's type."""
        import numpy as np

        self._values.frombytes(np.ascontiguousarray(values, dtype=self._dtype).tobytes())

    @property
    def values(self) -> NDArray[Any]:
        """A copy of everything so far."""
        import numpy as np

        return np.array(self._values, dtype=self._dtype)

    @property
    def _dtype(self) -> str:
        return f"{'f' if self._values.typecode in 'fd' else 'i'}{self._values.itemsize}"

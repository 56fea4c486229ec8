"""The built-in 1,797 handwritten digits, 8x8, values 0 to 16."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.core.artifact import Signature
from edgekit.core.data import Dataset, Pool
from edgekit.datasets._digest import Digest
from edgekit.errors import UsageError

__all__ = ["Options", "load"]

_FILE = Path(__file__).with_name("_digits.npz")


@dataclass(frozen=True)
class Options:
    """The digits have no options of their own."""


def load(argument: str, options: Options, signature: Signature | None) -> Dataset:
    """Reads the digits that ship with edgekit: (1797, 8, 8, 1) 8-bit integers, ten classes.

    Raises:
        UsageError: there is an argument, and the digits take none.
    """
    import numpy as np

    if argument:
        raise UsageError(f"--data 'digits:{argument}': digits takes no path", hint="--data digits")
    with np.load(_FILE, allow_pickle=False) as arrays:
        pool = Pool((arrays["x"],), arrays["y"].astype(np.int64))
    digest = Digest("digits")
    digest.add_file(_FILE)
    names = tuple(str(digit) for digit in range(10))
    return Dataset("digits", pool, None, digest.hexdigest(), class_names=names)

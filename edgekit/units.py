"""Values with units: read from TOML and the command line, printed for people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final

__all__ = [
    "Bytes",
    "Nanoseconds",
    "Points",
    "Share",
    "Unit",
    "format_bytes",
    "format_figure",
    "format_nanoseconds",
    "format_points",
    "format_seconds",
    "format_share",
    "share_digits",
]

_NUMBER = re.compile(r"^\s*([+-]?\d+(?:\.\d+)?)\s*([^\d\s]*)\s*$")


@dataclass(frozen=True)
class Unit:
    """A kind of value: what its suffixes multiply by, and an example for error texts."""

    noun: str
    factors: tuple[tuple[str, float], ...]
    example: str
    whole: bool = False

    def parse(self, text: object) -> float | int:
        """Reads '256 kB' as 256000.

        Raises:
            ValueError: `text` has no number, no unit, or another unit; the message says which.
        """
        if not isinstance(text, str):
            raise ValueError(f"{text!r} has no unit; write {self.noun} like '{self.example}'")
        match = _NUMBER.match(text)
        if match is None:
            raise ValueError(f"{text!r} is not {self.noun}; write it like '{self.example}'")
        number, suffix = match.groups()
        factor = dict(self.factors).get(suffix)
        if factor is None:
            known = ", ".join(name for name, _ in self.factors)
            raise ValueError(
                f"{text!r} has {'the unit ' + repr(suffix) if suffix else 'no unit'}; "
                f"{self.noun} is in {known}, like '{self.example}'"
            )
        value = float(number) * factor
        if value < 0:
            raise ValueError(f"{text!r} is negative")
        return round(value) if self.whole else value


_SIZE: Final = Unit(
    "a size",
    (
        ("B", 1),
        *((f"{p}B", 1000.0**i) for i, p in enumerate(("k", "M", "G"), 1)),
        *((f"{p}iB", 1024.0**i) for i, p in enumerate(("K", "M", "G"), 1)),
    ),
    "256 kB",
    whole=True,
)
_TIME: Final = Unit(
    "a time", (("ns", 1), ("us", 1e3), ("ms", 1e6), ("s", 1e9)), "2.5 ms", whole=True
)
_POINTS: Final = Unit("a difference of percentages", (("pt", 0.01),), "1 pt")
_SHARE: Final = Unit("a share", (("%", 0.01),), "97 %")

Bytes = Annotated[int, _SIZE]
"""Bytes; kB is 1000 and KiB is 1024, as in the SI and IEC 80000-13."""
Nanoseconds = Annotated[int, _TIME]
"""Integer nanoseconds."""
Points = Annotated[float, _POINTS]
"""A difference between two shares; 0.01 is one percentage point."""
Share = Annotated[float, _SHARE]
"""A share of 1; 0.97 is 97 %."""


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    for size, suffix in steps:
        if abs(value) >= size:
            scaled = value / size
            digits = 0 if scaled >= 1000 else 1 if scaled >= 10 else 2
            return f"{scaled:.{digits}f} {suffix}"
    return f"{value:.0f} {steps[-1][1]}"


def format_bytes(size_bytes: float) -> str:
    """Prints 58100 as '58.1 kB'."""
    if abs(size_bytes) < 1000:
        return f"{size_bytes:.0f} B"
    return _scaled(size_bytes, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")))


def format_nanoseconds(nanoseconds: float) -> str:
    """Prints 2500000 as '2.50 ms'."""
    if abs(nanoseconds) < 1000:
        return f"{nanoseconds:.0f} ns"
    return _scaled(nanoseconds, ((1e9, "s"), (1e6, "ms"), (1e3, "us")))


def format_figure(value: float, unit: str) -> str:
    """Prints bytes and ns as the above, and 1234567 of 'cycles' or '' as '1,234,567'."""
    if unit == "bytes":
        return format_bytes(value)
    return format_nanoseconds(value) if unit == "ns" else f"{value:,.0f}"


def format_seconds(seconds: float) -> str:
    """Prints 61.4 as "61 s" and 0.41 as "0.4 s"."""
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def format_share(share: float, *, digits: int = 1) -> str:
    """Prints 0.98 as '98.0 %'."""
    return f"{100 * share:.{digits}f} %"


def format_points(difference: float, *, digits: int = 1) -> str:
    """Prints -0.004 as '-0.4 pt' and 0 as '±0.0 pt'."""
    rounded = round(100 * difference, digits)
    return f"{rounded:+.{digits}f} pt" if rounded else f"±{0:.{digits}f} pt"


def share_digits(n: int) -> int:
    """The decimals of a per cent that n samples can tell apart: one sample is 1/n."""
    return 1 if n < 2000 else 2

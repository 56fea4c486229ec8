"""How names and figures are written, wherever they stand."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath

from edgekit.units import format_bytes, format_nanoseconds, format_share

__all__ = [
    "bytes_text",
    "count",
    "file_name",
    "nanoseconds_text",
    "p_text",
    "points_text",
    "ratio_text",
    "share_text",
    "times_text",
    "trimmed",
]


def file_name(path: str) -> str:
    """Leaves a relative path (or KIND:PATH) as it is; of an absolute one only the last part.

    A report travels; where the machine that wrote it keeps its files is nobody's business.
    """
    kind, colon, rest = path.partition(":")
    if PureWindowsPath(path).drive:
        return PureWindowsPath(path).name
    if colon and rest.startswith("/"):
        return f"{kind}:{PurePosixPath(rest).name}"
    return PurePosixPath(path).name if path.startswith("/") else path


def count(number: int, noun: str) -> str:
    """Writes '1 thread' and '2 threads'."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def ratio_text(ratio: float) -> str:
    """Writes 0.368 as '0.37x', and keeps two digits of a small ratio: '0.018x'."""
    if ratio >= 100:
        return f"{ratio:,.0f}x"
    return f"{ratio:.2f}x" if ratio >= 0.1 or ratio == 0 else f"{ratio:.2g}x"


def trimmed(text: str) -> str:
    """Drops the zeros that say nothing in a round value: '256.0 kB' is '256 kB'."""
    return re.sub(r"(\.\d*?)0+(?=\s)", r"\1", text).replace(". ", " ")


def bytes_text(value: float) -> str:
    """Writes 256000 as '256 kB'."""
    return trimmed(format_bytes(value))


def nanoseconds_text(value: float) -> str:
    """Writes 2500000 as '2.5 ms'."""
    return trimmed(format_nanoseconds(value))


def share_text(value: float) -> str:
    """Writes 0.97 as '97 %'."""
    return trimmed(format_share(value))


def times_text(value: float) -> str:
    """Writes a ratio as a limit has it: 0.6 is '0.6x' and 1 is '1.0x'."""
    text = f"{value:.4f}".rstrip("0")
    return f"{text}0x" if text.endswith(".") else f"{text}x"


def p_text(value: float) -> str:
    """Writes a p-value as 'p 0.034'."""
    return f"p {value:.3g}"


def points_text(value: float) -> str:
    """Writes a distance in points with as many digits as it takes to see it."""
    points = 100 * value
    digits = next((n for n in range(1, 6) if round(points, n) != 0), 1)
    return f"{points:.{digits}f} pt"

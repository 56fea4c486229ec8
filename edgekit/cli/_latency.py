"""Latency in words: what bench and compare say besides the table."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.measurement import Latency
from edgekit.core.notes import Note
from edgekit.statistics import outliers, percentile, runs_for_percentile
from edgekit.units import format_nanoseconds

__all__ = ["change_line", "noise_lines", "spread_lines"]

_PERCENTILES = (0.9, 0.99)
_WORDS = {
    "faster": "B is faster than A",
    "slower": "B is slower than A",
    "no difference": "no difference",
    "cannot tell": "cannot tell",
}


def spread_lines(samples_ns: Sequence[int]) -> list[str]:
    """The percentiles that so many runs allow, and the outliers by number and size."""
    shown = ", ".join(_percentile(samples_ns, share) for share in _PERCENTILES)
    count = outliers(samples_ns)
    largest = format_nanoseconds(max(samples_ns, default=0))
    named = f"{count:,} of {len(samples_ns):,} runs" if count else "no run"
    return [
        f"  spread      {shown}; {named} over the median + 5 MAD, the longest {largest}",
    ]


def _percentile(samples_ns: Sequence[int], share: float) -> str:
    found = percentile(samples_ns, share)
    if found is None:
        return f"p{100 * share:g} not enough runs (it takes {runs_for_percentile(share)})"
    return f"p{100 * share:g} {format_nanoseconds(found)}"


def noise_lines(notes: Sequence[Note]) -> list[str]:
    """The noise floor that `compare --aa` measured; the table shows only what went otherwise."""
    return [f"{note.item}: {note.reason}" for note in notes if note.is_evidence]


def change_line(latency: Latency) -> str:
    """What a comparison found, and the smallest change that it could have seen."""
    if latency.ratio_to_reference is None or latency.ratio_ci95 is None or latency.change is None:
        return f"latency: cannot tell: {latency.reason or 'there is no ratio'}"
    low, high = latency.ratio_ci95
    told = _WORDS[latency.change]
    if latency.change == "no difference":
        told += f" over {100 * (latency.margin or 0):g} %"
    return (
        f"latency: {told}: {latency.ratio_to_reference:.3f}x [{low:.3f}, {high:.3f}]; "
        f"this run would have seen a change of {_share(latency.smallest_change or 0)}"
    )


def _share(value: float) -> str:
    return f"{100 * value:.2g} %" if value < 1 else f"{100 * value:.0f} %"

"""A matplotlib figure as an SVG element that can stand in a page beside others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GRID", "INK", "MUTED", "REFERENCE", "RESULT", "WORSE", "drawing", "svg"]

INK: Final = "#010101"
MUTED: Final = "#020202"
GRID: Final = "#030303"
REFERENCE: Final = "#040404"
RESULT: Final = "#050505"
WORSE: Final = "#060606"
"""Stand-ins that no plot uses for itself: each becomes a CSS variable, so that one drawing has
the page's colours in light and in dark."""

_VARIABLES: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--rule)",
    REFERENCE: "var(--reference)",
    RESULT: "var(--result)",
    WORSE: "var(--worse)",
}
_SETTINGS: Final[Mapping[str, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgekit",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.major.size": 0,
    "ytick.color": GRID,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Sets how plots look, whatever the user's own matplotlib settings are, and puts those back.

    A glyph that matplotlib's font lacks is no reason to warn: the browser chooses the font.
    """
    import warnings

    import matplotlib

    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.filterwarnings("ignore", message="Glyph")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(dict[Any, Any](_SETTINGS))
        yield


def svg(figure: Figure, *, name: str, label: str) -> str:
    """Draws a figure; `name` keeps its ids apart from other drawings', `label` is read aloud."""
    from io import StringIO

    buffer = StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.S)
    text = _with_own_ids(text, name)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, variable)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--sans)", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"\n\s*", "\n", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1).strip()


def _with_own_ids(text: str, name: str) -> str:
    """Prefixes the ids that something refers to and drops the others."""
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))

    def own(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    text = re.sub(r' id="([^"]*)"', own, text)
    return re.sub(r'(href="|url\()#', rf"\1#{name}-", text)

"""Accepting a row: its baseline is written anew, and what changed is told for review."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgekit.core.baseline import Baseline
from edgekit.core.gate import CheckRow
from edgekit.engine.check_baseline import FOLDER, baseline_of, write_baseline
from edgekit.engine.check_row import Found
from edgekit.units import format_bytes, format_nanoseconds, format_points, format_share

__all__ = ["accept_row", "differences"]


def accept_row(
    row: CheckRow, before: Baseline | None, found: Found, *, utc: str
) -> tuple[str, ...]:
    """Writes the baseline; returns what is to be reviewed.

    Raises:
        UsageError: the folder cannot be written.
    """
    baseline = baseline_of(
        row.name,
        row.target,
        found.subject,
        found.measured,
        data=found.data.digest if found.data is not None else "",
        machine=found.machine,
        utc=utc,
    )
    write_baseline(baseline, found.subject.artifact)
    file = FOLDER / f"{row.name}.json"
    figures = "; ".join(differences(before, baseline))
    said = [f"accepted, {file} {'rewritten' if before else 'made'}: {figures}"]
    if not baseline.model.file:
        lies = baseline.model.place or "nowhere that can be named"
        said.append(f"the model is over 16 MB, so it is not kept beside its baseline; it is {lies}")
    return tuple(said)


def differences(before: Baseline | None, now: Baseline) -> tuple[str, ...]:
    """One line a figure: what it was and what it is, equal ones left out."""
    if before is None:
        return tuple(f"{name} {text}" for name, text in _figures(now))
    if before.model.digest == now.model.digest:
        lines = ["the same model"]
    else:
        lines = [f"model {before.model.digest[:12]} -> {now.model.digest[:12]}"]
    old = dict(_figures(before))
    lines += [
        f"{name} {old.get(name, 'none')} -> {text}{_change(name, before, now)}"
        for name, text in _figures(now)
        if old.get(name) != text
    ]
    new = dict(_figures(now))
    lines += [f"{name} {text} -> none" for name, text in old.items() if name not in new]
    return tuple(lines)


def _figures(baseline: Baseline) -> Iterator[tuple[str, str]]:
    yield "target", baseline.target
    yield "options", ", ".join(f"{key}={value}" for key, value in baseline.options.items())
    for name, show in _SHOWN.items():
        value = _value(name, baseline)
        if value is not None:
            yield name, show(value)


_SHOWN: dict[str, Callable[[float], str]] = {
    "size": format_bytes,
    "compressed": format_bytes,
    "accuracy": lambda value: format_share(value, digits=2),
    "latency": format_nanoseconds,
    "memory": format_bytes,
    "delegated": format_share,
}


def _value(name: str, baseline: Baseline) -> float | None:
    values: dict[str, float | None] = {
        "size": baseline.size_bytes,
        "compressed": baseline.size_compressed_bytes,
        "accuracy": baseline.score.value if baseline.score else None,
        "latency": baseline.latency_median_ns,
        "memory": baseline.memory_peak_bytes,
        "delegated": baseline.delegated,
    }
    return values[name]


def _change(name: str, before: Baseline, now: Baseline) -> str:
    if name not in _SHOWN:
        return ""
    old, new = _value(name, before), _value(name, now)
    if not old or new is None:
        return ""
    if name in ("accuracy", "delegated"):
        return f" ({format_points(new - old, digits=2)})"
    apart = ", of two sessions" if name == "latency" else ""
    return f" ({100 * (new / old - 1):+.2g} %{apart})"

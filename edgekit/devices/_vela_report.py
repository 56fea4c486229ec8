"""What Vela says of a model: its warnings, and its two tables, read strictly."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import UnmeasuredError
from edgekit.text import clean

__all__ = ["Refusal", "Summary", "failure", "read_cpu_rows", "read_refusals", "read_summary"]

_WARNING = re.compile(r"Warning \(supported operators\) operator: ([A-Z0-9_]+), ofm: '(.*)'")
_REASON = "Reason: "
_TENSOR = re.compile(r"(unsupported DataType \w+) \(.*\)$")
_FAILED = re.compile(r"(?:[\w.]*Error|Error)\b: *(.*)")
_TABLE_BYTES = 4_000_000
_MOST = 1e15
_NS, _KIB = 1_000_000_000, 1024
_LAYER_COLUMNS = ("Original Operator", "Target", "Op Cycles", "Name")
_TARGETS = ("NPU", "CPU")


@dataclass(frozen=True)
class Refusal:
    """An op that Vela keeps off the NPU: the tensor it makes, why, and what Vela would take."""

    kind: str
    output: str
    reason: str
    constraint: str


@dataclass(frozen=True)
class Summary:
    """Vela's estimates for one inference on the NPU, in whole ns, bytes and cycles."""

    system: str
    clock_hz: int
    time_ns: int
    sram_bytes: int
    dram_bytes: int
    flash_bytes: int
    macs: int
    cycles: int


def read_refusals(log: str) -> tuple[Refusal, ...]:
    """The warnings of a log, each with the lines behind it."""
    lines, found = log.splitlines(), []
    for number, line in enumerate(lines):
        if (match := _WARNING.match(line)) is None:
            continue
        reason, constraint = "", ""
        if number + 1 < len(lines) and lines[number + 1].startswith(_REASON):
            reason = _TENSOR.sub(r"\1", lines[number + 1].removeprefix(_REASON)).strip()
            constraint = lines[number + 2].strip() if number + 2 < len(lines) else ""
        found.append(
            Refusal(match[1], match[2], clean(reason, most=200), clean(constraint, most=300))
        )
    return tuple(found)


def failure(log: str) -> str:
    """The words of an error that Vela printed, whatever its exit code was; '' without one."""
    said = [match[1] for line in log.splitlines() if (match := _FAILED.match(line))]
    if not said:
        return ""
    words = said[-1].strip(" '\"")
    for lead in ("Error: ", "Compilation failed: ", "Error: "):
        words = words.removeprefix(lead)
    return clean(words, most=300) or "an error without words"


def read_summary(path: Path) -> Summary:
    """The table of one row that Vela writes.

    Raises:
        UnmeasuredError: it is not there, or not such a table.
    """
    header, rows = _table(path)
    if len(rows) != 1:
        raise _strange(path, f"has {len(rows)} rows instead of one")
    row = dict(zip(header, rows[0], strict=True))

    def number(name: str, scale: float = 1) -> int:
        try:
            value = float(row[name])
        except KeyError:
            raise _strange(path, f"lacks the column {name}") from None
        except ValueError:
            raise _strange(path, f"has {row[name][:30]!r} as {name}") from None
        if not math.isfinite(value) or not 0 <= value * scale <= _MOST:
            raise _strange(path, f"has {value:g} as {name}")
        return round(value * scale)

    flash = ("on_chip_flash_memory_used", "off_chip_flash_memory_used")
    return Summary(
        system=clean(row.get("system_config", ""), most=100),
        clock_hz=number("core_clock"),
        time_ns=number("inference_time", _NS),
        sram_bytes=number("sram_memory_used", _KIB),
        dram_bytes=number("dram_memory_used", _KIB),
        flash_bytes=sum(number(name, _KIB) for name in flash),
        macs=number("nn_macs"),
        cycles=number("cycles_total"),
    )


def read_cpu_rows(path: Path) -> int:
    """How many rows of the table of layers are on the CPU.

    Raises:
        UnmeasuredError: it is not there, or not such a table.
    """
    header, rows = _table(path)
    for name in _LAYER_COLUMNS:
        if name not in header:
            raise _strange(path, f"lacks the column {name}")
    places = [row[header.index("Target")] for row in rows]
    for place in places:
        if place not in _TARGETS:
            raise _strange(path, f"has {clean(place, most=30)!r} as a target")
    return places.count("CPU")


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        if path.stat().st_size > _TABLE_BYTES:
            raise _strange(path, "is larger than 4 MB")
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except OSError as error:
        raise _strange(path, f"cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise _strange(path, f"is no table: {error}") from None
    if not lines or any(len(line) != len(lines[0]) for line in lines):
        raise _strange(path, "is empty" if not lines else "has rows of different lengths")
    return lines[0], lines[1:]


def _strange(path: Path, what: str) -> UnmeasuredError:
    return UnmeasuredError(
        f"Vela's {path.name} {what}", hint="another version of Vela writes other tables"
    )

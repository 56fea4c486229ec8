"""A baseline: what a row of the gate was when somebody accepted it, and the model it was of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from edgekit.core.strict_json import build_strictly, dump_json, parse_json
from edgekit.errors import UsageError

__all__ = [
    "SCHEMA",
    "Baseline",
    "BaselineModel",
    "BaselineScore",
    "NewerSchemaError",
    "dump_baseline",
    "parse_baseline",
]

SCHEMA = "edgekit-baseline/1"

_SCHEMA = re.compile(r"edgekit-baseline/(\d{1,6})")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BaselineModel:
    """The model itself: `file` beside the baseline, or, where it is too large for that, `place`.

    `place` is where it lay: relative to the project, or `cache:` and the place in edgekit's cache.
    """

    digest: str
    format: str
    file: str = ""
    place: str = ""

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError("digest is no SHA-256")
        for name in ("file", "place"):
            path = PurePosixPath(getattr(self, name).removeprefix("cache:"))
            if path.is_absolute() or ".." in path.parts or "\\" in str(path):
                raise ValueError(f"{name} leads out of its folder")


@dataclass(frozen=True)
class BaselineScore:
    """The accuracy that the model had, on which data."""

    metric: str
    value: float
    n: int
    data: str


@dataclass(frozen=True)
class Baseline:
    """The figures of an accepted row; `runner` and `options` are how its model was run.

    `machine` are the facts that tell one machine from another.
    """

    schema: str
    name: str
    accepted_utc: str
    edgekit_version: str
    model: BaselineModel
    target: str
    runner: str
    options: Mapping[str, Any]
    size_bytes: int
    size_compressed_bytes: int
    score: BaselineScore | None = None
    latency_median_ns: int | None = None
    memory_peak_bytes: int | None = None
    delegated: float | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (
            *("size_bytes", "size_compressed_bytes"),
            *("latency_median_ns", "memory_peak_bytes"),
        ):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        if self.delegated is not None and not 0 <= self.delegated <= 1:
            raise ValueError(f"delegated must be from 0 to 1, not {self.delegated:g}")


def parse_baseline(data: bytes, *, where: str, name: str) -> Baseline:
    """Reads the baseline of the row `name`.

    Raises:
        UsageError: damaged, of a newer schema, or of another row.
    """
    again = f"restore it (git checkout {where}), or make it anew: edgekit check --accept {name}"
    try:
        table = parse_json(data, where=where)
        found = table.get("schema") if isinstance(table, dict) else None
        match = _SCHEMA.fullmatch(found) if isinstance(found, str) else None
        if match is None:
            raise UsageError(f"{where}: is no baseline of edgekit's")
        if found != SCHEMA:
            raise NewerSchemaError(
                f"{where}: has the schema {found}, and this edgekit knows {SCHEMA}",
                hint=f"update edgekit, or remove the file and run edgekit check --accept {name}",
            )
        baseline: Baseline = build_strictly(Baseline, table, where=where)
        if baseline.name != name:
            raise UsageError(f"{where}: is the baseline of another row, '{baseline.name}'")
    except NewerSchemaError:
        raise
    except UsageError as error:
        raise UsageError(error.message, hint=error.hint or again) from None
    return baseline


class NewerSchemaError(UsageError):
    """What a newer edgekit wrote is not for this one to replace."""


def dump_baseline(baseline: Baseline) -> bytes:
    """The bytes of its file."""
    return dump_json(baseline)

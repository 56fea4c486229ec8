"""Which built-in ops a runtime has, and up to which version: files that ship beside the targets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.core import catalog
from edgekit.core.schema import build, read_toml
from edgekit.errors import UsageError, did_you_mean

__all__ = ["load_op_table", "op_table_names"]

_OP = re.compile(r"[A-Z][A-Z0-9_]*")
_NEWEST = 1000


@dataclass(frozen=True)
class _File:
    summary: str
    ops: Mapping[str, int]
    reference: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.ops:
            raise ValueError("ops must name one op at least")
        for name, version in self.ops.items():
            if not _OP.fullmatch(name):
                raise ValueError(f"ops: '{name}' is not the name of an op such as 'CONV_2D'")
            if not 1 <= version <= _NEWEST:
                raise ValueError(
                    f"ops: {name} must be a version from 1 to {_NEWEST}, not {version}"
                )
        for name, version in self.reference.items():
            if not 0 <= version < self.ops.get(name, 0):
                raise ValueError(
                    f"reference: {name} must be a version below that in ops (0: none), "
                    f"not {version}"
                )


def op_table_names() -> tuple[str, ...]:
    """The names of the tables that ship."""
    return tuple(sorted(path.stem for path in (catalog.shipped("targets") / "ops").glob("*.toml")))


def load_op_table(name: str, *, reference: bool = False) -> Mapping[str, int]:
    """The ops of a runtime by name, with the highest version of each: `tflite-runtime-2.14.0`.

    `reference` asks for its reference kernels, which lack some.

    Raises:
        UsageError: no such table, or one with a key, an op or a version that cannot be.
    """
    if name not in op_table_names():
        raise UsageError(f"unknown op table '{name}'", hint=did_you_mean(name, op_table_names()))
    where = f"targets/ops/{name}.toml"
    file = build(_File, read_toml(catalog.shipped("targets") / "ops" / f"{name}.toml"), where=where)
    if not reference:
        return file.ops
    known = {**file.ops, **file.reference}
    return {op: version for op, version in known.items() if version}

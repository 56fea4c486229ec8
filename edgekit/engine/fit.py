"""What of a model a target cannot run, and what to change: said before any work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from edgekit.core.artifact import Artifact
from edgekit.core.description import Op
from edgekit.core.notes import Note
from edgekit.core.op_table import load_op_table
from edgekit.core.runner import Placement
from edgekit.core.target import Target
from edgekit.engine.fallbacks import FELL_BACK, fallback_notes, lenient, unkept
from edgekit.engine.fit_stays import QUANTIZE, Stay, stays
from edgekit.engine.measure import on_target, open_session
from edgekit.engine.models import describe
from edgekit.engine.targets import check_runs, unavailable
from edgekit.errors import EdgekitError
from edgekit.text import with_article
from edgekit.units import format_bytes

__all__ = ["Fit", "Misfit", "Stay", "fit"]


@dataclass(frozen=True)
class Misfit:
    """Something that a target cannot run: how many ops of which kind, why, and what to do."""

    what: str
    count: int
    reason: str
    advice: str


@dataclass(frozen=True)
class Fit:
    """`misfits` follow from the target's file; `placement` is what its runtime said just now, where
    it works here, and `problem` is why it did not open the model.

    `stays` are the ops that stay on the CPU, of `ops` in all, where the target takes ops from it;
    `notes` say which delegate or runtime fell back.
    """

    target: str
    misfits: tuple[Misfit, ...]
    placement: Placement
    problem: str = ""
    stays: tuple[Stay, ...] = ()
    ops: int = 0
    notes: tuple[Note, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether nothing that is known speaks against it."""
        return not self.misfits and not self.problem


def fit(artifact: Artifact, target: Target) -> Fit:
    """Holds a model against a target's rules, and opens it there where that works here."""
    found = tuple(_misfits(artifact, target))
    if not target.opens(artifact.format):
        return Fit(target.name, found, Placement((), "the target takes another format"))
    placed, problem = _placed(artifact, target)
    ops = describe(artifact).ops
    rules = {op.index: (reason, advice) for op, reason, advice in _against_ops(ops, target)}
    left, count = stays(ops, rules, placed, target), len(placed.ops) or len(ops)
    fell = tuple(note for note in fallback_notes(target, placed) if note.what == FELL_BACK)
    return Fit(target.name, found, placed, problem, left, count, fell)


def _placed(artifact: Artifact, target: Target) -> tuple[Placement, str]:
    """What runs where, as far as it can be tried here, and why the target does not run it."""
    missing = unavailable(target)
    if missing:
        return Placement((), f"not executed here: {missing}"), ""
    try:
        if target.device is not None:
            check_runs(target)
        with closing(open_session(on_target(artifact, lenient(target)))) as session:
            placed = session.placement()
    except EdgekitError as error:
        reason = error.message if not error.hint else f"{error.message} ({error.hint})"
        return Placement((), "it does not open there"), reason
    why = unkept(target, placed) if target.strict else ""
    return placed, f"--strict: {why}" if why else ""


def _misfits(artifact: Artifact, target: Target) -> Iterator[Misfit]:
    if not target.opens(artifact.format):
        yield Misfit(
            f"the format {artifact.format}",
            1,
            f"the target takes {target.format}",
            f"edgekit convert {artifact.path} --to {target.format}, or compress for the target",
        )
        return
    found = describe(artifact)
    if target.ram is not None and found.size_bytes > target.ram:
        yield Misfit(
            f"model of {format_bytes(found.size_bytes)}",
            1,
            f"is larger than the target's memory of {format_bytes(target.ram)}",
            "quantize it, or take a smaller one",
        )
    against = ((op.kind, *rule) for op, *rule in _against_ops(found.ops, target))
    for (what, reason, advice), count in Counter(against).items():
        yield Misfit(what, count, reason, advice)


def _against_ops(ops: Sequence[Op], target: Target) -> Iterator[tuple[Op, str, str]]:
    """What the target's file has against which op: first its dtypes, then its table."""
    for op in ops if target.dtypes else ():
        other = [dtype for dtype in op.dtypes if dtype not in target.dtypes]
        if other:
            reason = f"works on {other[0]}; the target takes {', '.join(target.dtypes)}"
            yield op, reason, QUANTIZE
    known = load_op_table(target.op_table) if target.op_table else None
    for op in ops if known is not None else ():
        reason, advice = _against(op, known or {}, target.op_table)
        if reason:
            yield op, reason, advice


def _against(op: Op, known: Mapping[str, int], table: str) -> tuple[str, str]:
    if op.is_custom:
        return f"is {with_article('custom')} op, and {table} brings none along", "replace the op"
    if op.kind not in known:
        return f"is not among the ops of {table}", "replace the op, or take a newer runtime"
    if op.version is not None and op.version > known[op.kind]:
        return (
            f"has version {op.version}; {table} has it up to version {known[op.kind]}",
            "take another recipe (int8 needs the oldest versions), or a newer runtime",
        )
    return "", ""

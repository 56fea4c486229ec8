"""What was to run on a delegate and does not: noted with the reason, and refused where strict."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.notes import Note
from edgekit.core.runner import PLAIN_CPU, Attempt, OpPlacement, Placement
from edgekit.engine.delegation import Delegation, check_library
from edgekit.engine.device_session import device_module
from edgekit.engine.measure import bench_inputs, bench_model, on_target, open_session
from edgekit.engine.targets import nameless
from edgekit.errors import EdgekitError, PromiseError, UnmeasuredError, UsageError
from edgekit.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.core.artifact import Artifact
    from edgekit.core.device import Delegate
    from edgekit.core.limits import Status, Verdict
    from edgekit.core.runner import Session
    from edgekit.core.target import Target

__all__ = [
    "FELL_BACK",
    "NONE_OPENED",
    "check_strictly",
    "delegated",
    "explained",
    "fallback_notes",
    "is_here",
    "lenient",
    "none_opened",
    "placed_on",
    "share_verdicts",
    "unkept",
    "untaken",
    "wants",
    "with_delegates",
]

FELL_BACK = "fell back"
"""What a note says of a delegate or a runtime that was tried and failed."""
_CPU_PLACES = (PLAIN_CPU, "XNNPACK")
"""Where ops run that no delegate of the user's took."""
_SHARE = "min_delegated"
_LEAD = re.compile(r"^.* does not run it: ", re.DOTALL)
_MOST_KINDS = 6
NONE_OPENED = "nothing that was to take them opened the model"
_SILENT = "the runtime gives no reason"


def delegated(target: Target, said: Delegation, *, to_device: bool = False) -> Target:
    """A target with what `--delegate` and `--strict` say; see `with_delegates`."""
    return with_delegates(target, said.delegates, said.strict, to_device=to_device)


def with_delegates(
    target: Target,
    delegates: Sequence[Delegate],
    strict: bool = False,
    *,
    to_device: bool = False,
) -> Target:
    """A target with these delegates in place of its own, to be tried in turn before the CPU.

    Where the target runs on this machine, a library is looked at before anything loads it;
    `to_device` says that it lies on the machine that a bundle is going to.

    Raises:
        UsageError: the target's runtime takes none, one of them is no library that can be loaded
            here, or the target needs one and has none.
    """
    if delegates and not target.runtimes:
        raise UsageError(
            f"--delegate '{clean(delegates[0].library)}': target '{target.name}' runs in no "
            "runtime that takes delegates",
            hint="leave --delegate out, or name another target",
        )
    if delegates:
        looked_at = not to_device and is_here(target)
        found = map(_checked, delegates) if looked_at else delegates
        target = dataclasses.replace(target, delegates=tuple(found))
    if nameless(target):
        said, _, hint = nameless(target).partition(": ")
        raise UsageError(f"target '{target.name}' {said}", hint=hint)
    if strict and not wants(target):
        raise UsageError(
            f"--strict: target '{target.name}' has no delegate, and no {_SHARE} in its limits",
            hint="--delegate LIB names one, or leave --strict out",
        )
    return dataclasses.replace(target, strict=strict or target.strict)


def is_here(target: Target) -> bool:
    """Whether a target runs on this very machine, whose files its delegates are."""
    return target.device is None or bool(getattr(device_module(target.device), "IS_HERE", False))


def _checked(delegate: Delegate) -> Delegate:
    """With the absolute path of a library; the name of a provider or an accelerator stays."""
    if re.fullmatch(r"\w+", delegate.library) and not Path(delegate.library).exists():
        return delegate
    return dataclasses.replace(delegate, library=check_library(delegate.library))


def lenient(target: Target) -> Target:
    """The same target, on which what fails falls back and says so."""
    return dataclasses.replace(target, strict=False)


def wants(target: Target) -> bool:
    """Whether ops are to run elsewhere than on the runtime's own kernels."""
    return bool(target.delegates) or _bound(target) is not None


def _bound(target: Target) -> float | None:
    return target.limits.limits.min_delegated


def untaken(target: Target, placed: Placement) -> tuple[OpPlacement, ...]:
    """The ops that are left on the CPU of a target that wants them elsewhere; else none."""
    if not wants(target):
        return ()
    places = _CPU_PLACES if target.delegates else (PLAIN_CPU,)
    return tuple(op for op in placed.ops if op.where in places)


def none_opened(target: Target, placed: Placement) -> bool:
    """Whether all that was tried failed, so that every op runs on the CPU."""
    is_left = bool(placed.ops) and len(untaken(target, placed)) == len(placed.ops)
    return is_left and any(not attempt.ok for attempt in placed.attempts)


def fallback_notes(target: Target, placed: Placement, *, of: str = "") -> tuple[Note, ...]:
    """Every delegate and runtime that failed, and the ops that stay on the CPU, with the reasons.

    `of` names a model that is not the result: of it only what failed is told.
    """
    failed = [attempt for attempt in placed.attempts if not attempt.ok]
    notes = [Note(FELL_BACK, f"{of}{one.what}", _reason(one)) for one in failed]
    left = untaken(target, placed)
    if left and not of:
        count = f"{len(left)} of {len(placed.ops)} ops"
        why = NONE_OPENED if none_opened(target, placed) else _reasons(left)
        notes.append(Note("on the CPU", count, why))
    return tuple(notes)


def _reason(attempt: Attempt) -> str:
    """Of a delegate the sentence alone: the model and the runtime stand elsewhere."""
    return clean(_LEAD.sub("", attempt.reason) or "it gives no reason", most=300)


def _reasons(ops: Sequence[OpPlacement]) -> str:
    """'3 CONV_2D, 1 SOFTMAX: no kernel; 2 MEAN: int16', the most frequent first."""
    found: dict[str, Counter[str]] = {}
    for op in ops:
        reason = op.reason or (f"{op.where} took it" if op.where != PLAIN_CPU else _SILENT)
        found.setdefault(reason, Counter())[op.kind] += 1
    ranked = sorted(found.items(), key=lambda item: -item[1].total())
    return "; ".join(f"{_kinds(kinds)}: {reason}" for reason, kinds in ranked)


def _kinds(kinds: Counter[str]) -> str:
    shown = [f"{count} {clean(kind)}" for kind, count in kinds.most_common(_MOST_KINDS)]
    left = len(kinds) - len(shown)
    return ", ".join([*shown, *([f"{left} other kinds"] if left > 0 else [])])


def explained(
    verdicts: tuple[Verdict, ...], target: Target, placed: Placement
) -> tuple[Verdict, ...]:
    """The verdicts; a broken share of delegated ops says what failed and what stayed behind."""
    notes = fallback_notes(target, placed)
    said = "; ".join(f"{note.what}: {note.item}: {note.reason}" for note in notes)
    return tuple(
        dataclasses.replace(verdict, reason=said)
        if said and verdict.metric == _SHARE and verdict.status == "fail"
        else verdict
        for verdict in verdicts
    )


def share_verdicts(target: Target, placed: Placement) -> tuple[Verdict, ...]:
    """The target's limit on delegated ops alone, for a command that measures nothing else."""
    from edgekit.core.limits import Verdict

    bound, share = _bound(target), placed.delegated
    if bound is None:
        return ()
    status: Status = "unmeasured" if share is None else "pass" if share >= bound else "fail"
    own = Verdict(_SHARE, share, bound, status, target.limits.source, placed.reason)
    return explained((own,), target, placed)


def placed_on(artifact: Artifact, target: Target) -> Placement:
    """Which op runs where, asked in a process of its own; a reason where it cannot be."""
    from edgekit.engine.bench import placement

    return placement(bench_model(on_target(artifact, lenient(target))))


def check_strictly(artifact: Artifact, target: Target) -> None:
    """With `strict`, opens a model and computes one inference before any other work.

    Raises:
        PromiseError: a delegate fails, or takes fewer ops than the target demands; says which.
        UnmeasuredError: nobody knows what the delegate took.
    """
    if not target.strict:
        return
    subject = on_target(artifact, lenient(target))
    with closing(open_session(subject)) as session:
        placed = session.placement()
        why = unkept(target, placed) or _fails(session, bench_inputs(subject, None, seed=0))
    if why:
        raise PromiseError(
            f"--strict: target '{target.name}': {why}",
            hint="without --strict the rest runs on the CPU, and the report says what",
        )
    if _bound(target) is not None and not placed.ops:
        raise UnmeasuredError(
            f"--strict: target '{target.name}': it is not known what runs where: {placed.reason}"
        )


def _fails(session: Session, inputs: tuple[object, ...]) -> str:
    """Why the first inference fails, which a delegate may do that opened the model; '' else."""
    from edgekit.engine.inference import model_inputs

    try:
        session.run(model_inputs(session.signature, inputs))  # type: ignore[arg-type]
    except EdgekitError as error:
        return f"the first inference fails: {error.message}"
    return ""


def unkept(target: Target, placed: Placement) -> str:
    """Why `strict` does not hold: a delegate failed, or too few ops are taken; '' where it does."""
    own = {os.path.basename(delegate.library) for delegate in target.delegates}
    for attempt in placed.attempts:
        if not attempt.ok and attempt.what in own:
            return f"{clean(attempt.what)} fails: {_reason(attempt)}"
    bound, left = _bound(target), untaken(target, placed)
    if bound is None or not placed.ops or 1 - len(left) / len(placed.ops) >= bound:
        return ""
    taken = len(placed.ops) - len(left)
    return (
        f"{taken} of {len(placed.ops)} ops are delegated, and {_SHARE} is {100 * bound:g} % "
        f"({target.limits.source}); on the CPU: {_reasons(left)}"
    )

"""Where the ops run: one line for the table, groups for the pages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from edgekit.core.runner import OpPlacement, Placement
from edgekit.reporters._wording import count
from edgekit.text import clean

__all__ = ["Group", "groups", "placement_text"]


@dataclass(frozen=True)
class Group:
    """Ops of one kind that run at one place, in one dtype, for one reason."""

    kind: str
    count: int
    where: str
    dtype: str
    reason: str


def groups(placement: Placement) -> tuple[Group, ...]:
    """Groups the ops, those with a reason (not accelerated) first, then the most frequent."""
    found = Counter((op.kind, op.where, op.dtype, op.reason) for op in placement.ops)
    table = [
        Group(kind, times, where, dtype, reason)
        for (kind, where, dtype, reason), times in found.items()
    ]
    return tuple(sorted(table, key=lambda g: (not g.reason, -g.count, g.kind, g.where, g.dtype)))


def placement_text(placement: Placement, *, most: int = 3) -> str:
    """Writes '7 of 7 ops int8, XNNPACK 6, CPU 1 (SOFTMAX: no int8 kernel in XNNPACK)'."""
    if not placement.ops:
        reason = clean(placement.reason, most=200)
        return f"unmeasured ({reason})" if reason else "unmeasured"
    places = Counter(op.where for op in placement.ops).most_common()
    shown = ", ".join(f"{clean(where)} {times}" for where, times in places)
    line = f"{_dtypes(placement.ops)}, {shown}"
    reasons = _reasons(placement, most)
    remark = "; ".join([*reasons, *([clean(placement.reason, most=200)] * bool(placement.reason))])
    return f"{line} ({remark})" if remark else line


def _dtypes(ops: tuple[OpPlacement, ...]) -> str:
    (first, times), *others = Counter(op.dtype for op in ops).most_common()
    text = f"{times} of {count(len(ops), 'op')} {clean(first)}"
    return ", ".join([text, *(f"{number} {clean(dtype)}" for dtype, number in others)])


def _reasons(placement: Placement, most: int) -> list[str]:
    """One entry for each reason with the kinds it holds for, 'CONV_2D 3, SOFTMAX: reason'."""
    kinds: dict[str, Counter[str]] = {}
    for op in placement.ops:
        if op.reason:
            kinds.setdefault(op.reason, Counter())[op.kind] += 1
    ranked = sorted(kinds.items(), key=lambda item: -item[1].total())
    lines = [f"{_kinds(found)}: {clean(reason, most=200)}" for reason, found in ranked[:most]]
    rest = len(ranked) - most
    return [*lines, f"+{count(rest, 'more reason')}"] if rest > 0 else lines


def _kinds(found: Counter[str]) -> str:
    return ", ".join(
        f"{clean(kind)} {times}" if times > 1 else clean(kind)
        for kind, times in found.most_common()
    )

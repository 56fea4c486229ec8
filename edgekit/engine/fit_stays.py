"""Which ops stay on the CPU of a target that takes ops from it, why, and what would move them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgekit.core.description import Op
from edgekit.core.runner import Placement
from edgekit.core.target import Target
from edgekit.engine.fallbacks import NONE_OPENED, none_opened, untaken, wants

__all__ = ["QUANTIZE", "Rule", "Stay", "stays"]

Rule = tuple[str, str]
"""Why a target cannot run an op, and what to change."""

QUANTIZE = "quantize the model for it, such as with the recipe int8"
_BY_WORDS = (
    (r"dynamic|unknown (shape|size)|batch size", "fix the shapes: --input NAME=1x... of compress"),
    (r"float|not (been )?quanti[sz]ed|must be (of type )?u?int8", QUANTIZE),
    (r"int16", "quantize the activations to int8, as the recipe int8 does"),
    (r"constant", "make that input a constant of the model"),
)
"""What helps against a reason in a runtime's own words; the first that fits."""
_OWN_ADVICE = re.compile(r"(.+?): ((?:quantize|take|fix|replace|change|make) .+)", re.DOTALL)
"""A reason that brings its advice along, as Vela's do: it knows more than the words alone."""
_SILENT = "no delegate took it, and the runtime gives no reason"


@dataclass(frozen=True)
class Stay:
    """Ops that stay on the CPU for one reason, as (kind, how many), and what would move them.

    `measured` tells what the runtime said from what follows from the target's file.
    """

    kinds: tuple[tuple[str, int], ...]
    dtype: str
    reason: str
    advice: str
    measured: bool

    @property
    def count(self) -> int:
        """How many ops they are."""
        return sum(count for _, count in self.kinds)


def stays(
    ops: Sequence[Op], rules: Mapping[int, Rule], placed: Placement, target: Target
) -> tuple[Stay, ...]:
    """Groups them by reason, the most ops first; `rules` are by the index of an op.

    What the runtime says counts more than a rule, and a rule more than a runtime that says nothing.
    """
    if not wants(target):
        return ()
    if placed.ops:
        found = _measured({op.index: op.kind for op in ops}, rules, placed, target)
    else:
        found = (((_dtype(op), *rules[op.index]), op.kind) for op in ops if op.index in rules)
    groups: dict[tuple[str, str, str], Counter[str]] = {}
    for key, kind in found:
        groups.setdefault(key, Counter())[kind] += 1
    table = [
        Stay(tuple(kinds.most_common()), *key, measured=bool(placed.ops))
        for key, kinds in groups.items()
    ]
    return tuple(sorted(table, key=lambda stay: -stay.count))


def _dtype(op: Op) -> str:
    return " to ".join(dict.fromkeys(op.dtypes))


def _measured(
    kinds: Mapping[int, str], rules: Mapping[int, Rule], placed: Placement, target: Target
) -> Iterator[tuple[tuple[str, str, str], str]]:
    if none_opened(target, placed):
        for op in untaken(target, placed):
            yield (op.dtype, NONE_OPENED, "see above why what was tried fell back"), op.kind
        return
    by_kind = {kinds[index]: rule for index, rule in rules.items()}
    for op in untaken(target, placed):
        same = kinds.get(op.index) == op.kind  # Not every runtime counts as the file does.
        rule = rules.get(op.index) if same else by_kind.get(op.kind)
        is_silent = not op.reason or "gives no reason" in op.reason
        reason = rule[0] if rule and is_silent else _SILENT if is_silent else op.reason
        advice = rule[1] if rule else _advice(op.reason, target)
        if own := _OWN_ADVICE.fullmatch(reason):
            reason, advice = own[1], own[2]
        yield (op.dtype, reason, advice), op.kind


def _advice(reason: str, target: Target) -> str:
    """By the words of a runtime's reason; else how to live with it."""
    for words, advice in _BY_WORDS:
        if re.search(words, reason, re.IGNORECASE):
            return advice
    if target.limits.limits.min_delegated is None:
        return "replace the op by one that it takes"
    accept = f"a lower min_delegated ({target.limits.source}) accepts it"
    return f"replace the op by one that it takes; {accept}"

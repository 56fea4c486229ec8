"""Holds a pruned model's file against what was asked, and times it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Work
from edgekit.errors import PromiseError
from edgekit.frameworks.bridge import load_trainable
from edgekit.frameworks.channels import Groups, find_groups
from edgekit.frameworks.keras import predict, wrap
from edgekit.techniques.prune_channels import Parameters
from edgekit.techniques.prune_channels._choice import Plan, measure
from edgekit.techniques.prune_channels._latency import latency_ratio
from edgekit.units import format_share

__all__ = ["prove"]

_TOLERANCE = 0.02
_MUCH_MORE = 0.1
_PROBES = 4
_ROUNDS = "rounds.txt"


def note_rounds(work: Work, done: int) -> None:
    """Keeps for `prove` how many rounds were not taken back."""
    (work.folder / _ROUNDS).write_text(str(done), encoding="utf-8")


def _rounds_done(parameters: Parameters, work: Work) -> int:
    """How many rounds were not taken back."""
    if parameters.max_drop is None:
        return parameters.rounds
    return int((work.folder / _ROUNDS).read_text(encoding="utf-8"))


def prove(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where a layer, its width, the share that went or an output is wrong."""
    before, after = (load_trainable(each.path, where=each.name) for each in (source, result))
    old, new = (find_groups(model, skip=parameters.skip) for model in (before, after))
    _check_layers(before, after)
    done = _rounds_done(parameters, work)
    if not done:
        work.note("not smaller", "the model", "no round was kept, so it is the one that came in")
        return
    # Rounds are compared, because 0.7 * 3 / 3 is not 0.7 in floats.
    _check_widths(parameters, old, new, work, is_whole=done == parameters.rounds)
    asked = parameters.ratio * done / parameters.rounds
    _check_amounts(parameters, source, result, work, asked)
    if parameters.of == "channels":
        first, second = (measure(groups, "channels") for groups in (old, new))
        _check_share(parameters, first, second, work, asked)
    _check_runs(before, after, work)
    _time(before, after, work)


def _check_layers(before: Any, after: Any) -> None:
    was, now = ([layer.name for layer in model.layers] for model in (before, after))
    if sorted(was) != sorted(now):
        changed = sorted(set(was) ^ set(now))
        raise PromiseError(f"prune-channels: layers came or went: {', '.join(changed)}")


def _check_widths(
    parameters: Parameters, old: Groups, new: Groups, work: Work, *, is_whole: bool
) -> None:
    """What stays has stayed, what shrank has a width it may have, ratios of layers are kept."""
    sizes = {group.name: len(group) for group in new.free}
    plan, found = Plan.of(parameters, old), []
    for group in old.free:
        size = sizes.get(group.name, 0)
        is_given = is_whole and group.name in plan.given
        wanted = plan.size_given(group.name) if is_given else size
        step = parameters.round_to if len(group) >= parameters.round_to else 1
        if size != wanted or not size or size > len(group) or (size % step and size < len(group)):
            raise PromiseError(
                f"prune-channels: '{group.name}' has {size} of {len(group)} channels, not "
                + (f"{wanted}" if size != wanted else f"a multiple of {step}")
            )
        found.append(f"{group.name} {size} of {len(group)}")
    was, now = (_stayed(groups) for groups in (old, new))
    for group in old.blocked:
        if was[group.producers] != now[group.producers]:
            raise PromiseError(f"prune-channels: '{group.name}' has lost channels that had to stay")
        work.note("skipped", _item(old, group.producers), group.blocked)
    work.evidence("kept channels", f"{len(found)} groups of layers", ", ".join(found))


def _stayed(groups: Groups) -> Counter[tuple[str, ...]]:
    """How many channels of which layers may not go."""
    counts: Counter[tuple[str, ...]] = Counter()
    for group in groups.blocked:
        counts[group.producers] += len(group)
    return counts


def _item(groups: Groups, producers: tuple[str, ...]) -> str:
    return ", ".join(f"{groups.layers[name].kind} '{name}'" for name in producers)


def _check_amounts(
    parameters: Parameters, source: Artifact, result: Artifact, work: Work, asked: float
) -> None:
    """Parameters and MACs as the files' descriptions count them, not as the choice did."""
    was, now = work.describe(source), work.describe(result)
    pairs = {
        "macs": (was.macs or 0, now.macs or 0),
        "parameters": (was.parameters, now.parameters),
    }
    for noun, (first, second) in pairs.items():
        if first and second >= first:
            raise PromiseError(f"prune-channels: the {noun} did not fall ({first:,} to {second:,})")
    if parameters.of != "channels":
        _check_share(parameters, *pairs[parameters.of], work, asked)
    figures = "; ".join(
        f"{noun} {first:,} to {second:,}, {format_share(1 - second / max(first, 1))} fewer"
        for noun, (first, second) in pairs.items()
    )
    work.evidence(
        "proven smaller",
        result.name,
        f"{figures} (asked: {format_share(parameters.ratio)} of the {parameters.of})",
    )


def _check_share(parameters: Parameters, first: int, second: int, work: Work, asked: float) -> None:
    """Less than asked breaks the promise; much more is noted, since it costs accuracy."""
    gone = 1 - second / max(first, 1)
    if gone < asked - _TOLERANCE:
        raise PromiseError(
            f"prune-channels: {format_share(gone)} of the {parameters.of} went, and "
            f"{format_share(asked)} was asked for"
        )
    if gone > asked + _MUCH_MORE:
        work.note(
            "more than asked",
            f"{format_share(gone)} of the {parameters.of} went, {format_share(asked)} asked",
            f"layers lose channels in multiples of round_to = {parameters.round_to}, those that "
            "an Add joins lose the same ones, and layer_ratios are kept",
        )


def _check_runs(before: Any, after: Any, work: Work) -> None:
    import numpy as np

    inputs = work.probes(_PROBES)
    was, now = predict(wrap(before), inputs), predict(wrap(after), inputs)
    for old, new in zip(was, now, strict=True):
        if old.shape != new.shape or not np.isfinite(new).all():
            raise PromiseError(
                f"prune-channels: the result's output {new.shape} is not finite, or not of the "
                f"source's shape {old.shape}"
            )


def _time(before: Any, after: Any, work: Work) -> None:
    ratio, (low, high) = latency_ratio(wrap(before), wrap(after), work.probes(1), seed=work.seed)
    found = f"{ratio:.2f} of the source's time (95 % interval {low:.2f} to {high:.2f})"
    where = "Keras, batch 1, this machine; the report's latency is the shipped file's"
    if high < 1:
        work.evidence("measured lower", "latency", f"{found}: {where}")
    else:
        reason = "a small net's time in Keras is mostly overhead, which does not shrink"
        work.note("not faster", "latency", f"{found}: {where}; {reason}")

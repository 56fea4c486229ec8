"""Two models side by side: each may have a target and threads of its own."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.core.artifact import Artifact
from edgekit.core.limits import judge
from edgekit.core.measurement import Measurements
from edgekit.core.notes import Note
from edgekit.core.report import Report
from edgekit.core.target import Target
from edgekit.engine.bench import MARGIN, compare_latency
from edgekit.engine.bench_ratio import with_ratio
from edgekit.engine.compress import DataRequest, data_facts, open_for, target_versions
from edgekit.engine.data import LoadedData
from edgekit.engine.delegation import NO_DELEGATION, Delegation
from edgekit.engine.fallbacks import (
    check_strictly,
    explained,
    fallback_notes,
    is_here,
    lenient,
    wants,
    with_delegates,
)
from edgekit.engine.machine import fingerprint
from edgekit.engine.measure import (
    Subject,
    bench_inputs,
    bench_model,
    judged_output,
    measure_pair,
    on_target,
    unreal_reason,
    why_unjudged,
)
from edgekit.engine.models import describe
from edgekit.engine.open_model import open_model
from edgekit.engine.progress import Progress, silent
from edgekit.engine.targets import (
    device_facts,
    elsewhere,
    elsewhere_notes,
    target_for,
    through_run_py,
)
from edgekit.version import __version__

__all__ = ["Side", "compare"]


@dataclass(frozen=True)
class Side:
    """A model as the user named it, and what it runs on."""

    model: str
    target: str | None = None
    threads: int | None = None
    delegation: Delegation = NO_DELEGATION


def compare(
    first: Side,
    second: Side,
    *,
    data: DataRequest | None = None,
    seed: int = 0,
    inputs: Sequence[str] = (),
    on: str | None = None,
    margin: float = MARGIN,
    with_noise: bool = False,
    bars: Progress = silent,
    words: Sequence[str] = (),
    is_reference: bool = False,
) -> Report:
    """Measures the second model against the first; `with_noise` the first against itself before.

    Where the second names no target of its own both run on the first one's, and a first model of
    another format on that format's natural runner. `words` are the command as it was given. A first
    model that `is_reference` need not keep what a strict target asks for.

    Raises:
        UsageError: a model does not run on its target, or the data does not fit one of them.
    """
    started = time.perf_counter()
    artifacts = [open_model(side.model, inputs) for side in (first, second)]
    targets = _targets(artifacts, first, second, on=on)
    for artifact, target in list(zip(artifacts, targets, strict=True))[is_reference:]:
        check_strictly(artifact, target)
    opened: LoadedData | None = None
    for index, artifact in enumerate(artifacts):
        artifacts[index], opened = open_for(artifact, data, seed=seed)
    subjects = [
        on_target(artifact, lenient(target), is_reference=position == 0)
        for position, (artifact, target) in enumerate(zip(artifacts, targets, strict=True))
    ]
    noise = _noise(subjects[0], opened, seed=seed, margin=margin, bars=bars) if with_noise else ()
    pair = measure_pair(*subjects, data=opened, seed=seed, bars=bars)
    result, device = _with_margin(pair.result, margin), targets[1]
    names = dict.fromkeys(target.name for target in targets)
    return Report(
        title=f"{artifacts[1].name} · against {artifacts[0].name} · {' against '.join(names)}",
        source=artifacts[0],
        recipe=None,
        target=device.name,
        seed=seed,
        edgekit_version=__version__,
        machine=fingerprint(
            {**target_versions(targets[0]), **target_versions(device)}, device=device_facts(device)
        ),
        steps=(),
        reference_artifact=artifacts[0],
        reference=pair.reference,
        reference_description=describe(artifacts[0]),
        result_artifact=dataclasses.replace(artifacts[1], parent=artifacts[0].digest),
        result=result,
        result_description=describe(artifacts[1]),
        data=data_facts(opened),
        judgement=pair.judgement,
        verdicts=explained(
            judge(
                (device.limits,),
                result,
                pair.judgement,
                reference=pair.reference,
                unjudged=why_unjudged(subjects[1], opened),
                elsewhere=elsewhere(device),
            ),
            device,
            result.placement,
        ),
        notes=(
            *noise,
            *elsewhere_notes(device),
            *fallback_notes(device, result.placement),
            *fallback_notes(
                targets[0], pair.reference.placement, of="reference: " if is_reference else "A: "
            ),
            *(judged_output(subjects[1], opened) if pair.judgement else ()),
        ),
        seconds={"validate": time.perf_counter() - started},
        command=_command(
            words or ("compare", first.model, second.model),
            data,
            inputs,
            {
                "--target": first.target or ("" if second.target else device.name),
                "--target-b": second.target,
                "--threads": first.threads,
                "--threads-b": second.threads,
                "--margin": f"{100 * margin:g} %" if margin != MARGIN else None,
                "--seed": seed,
                "--on": on,
            },
            [
                *first.delegation.words(),
                *dataclasses.replace(second.delegation, strict=False).words("--delegate-b"),
            ],
        ),
    )


def _command(
    words: Sequence[str],
    data: DataRequest | None,
    inputs: Sequence[str],
    options: Mapping[str, str | int | None],
    delegates: Sequence[str],
) -> str:
    shapes = [word for text in inputs for word in ("--input", text)]
    named = [str(word) for item in options.items() if item[1] for word in item]
    return shlex.join(
        ["edgekit", *words, *(data.words() if data else ()), *shapes, *named, *delegates]
    )


def _targets(
    artifacts: Sequence[Artifact], first: Side, second: Side, *, on: str | None
) -> tuple[Target, Target]:
    threads = second.threads if second.threads is not None else first.threads
    apart = second.target is not None
    own = second.delegation
    if not apart and not own.delegates:
        own = dataclasses.replace(own, delegates=first.delegation.delegates)
    firsts = target_for(artifacts[0 if apart else 1], first.target, threads=first.threads, on=on)
    seconds = target_for(artifacts[1], second.target or first.target, threads=threads, on=on)
    found = [
        with_delegates(firsts, first.delegation.delegates),
        with_delegates(seconds, own.delegates),
    ]
    if first.delegation.strict or own.strict:
        meant = [target for target in found if wants(target)] or found
        found = [with_delegates(t, (), strict=True) if t in meant else t for t in found]
    return _beside(*found)


def _beside(first: Target, second: Target) -> tuple[Target, Target]:
    """Where one has a delegate here, the other runs by run.py too: then their times compare."""
    if not any(target.delegates and is_here(target) for target in (first, second)):
        return first, second
    return (
        first if first.delegates else through_run_py(first),
        second if second.delegates else through_run_py(second),
    )


def _noise(
    subject: Subject, data: LoadedData | None, *, seed: int, margin: float, bars: Progress
) -> tuple[Note, ...]:
    """The machine's own noise floor: what it says of one model against itself."""
    model, sample = bench_model(subject), bench_inputs(subject, data, seed=seed)
    if unreal_reason(subject):
        return (Note("unmeasured", "noise floor", unreal_reason(subject)),)
    with bars("noise floor, A against A", 1) as bar:
        _, found = compare_latency(model, model, inputs=sample, margin=margin)
        bar.advance()
    if found.ratio_ci95 is None or found.smallest_change is None:
        return (Note("unmeasured", "noise floor", found.reason),)
    low, high = found.ratio_ci95
    reason = (
        f"A against A is {found.ratio_to_reference:.3f}x [{low:.3f}, {high:.3f}]: "
        f"{found.change}; a change under {100 * found.smallest_change:.2g} % cannot be seen now"
    )
    return (Note("measured", "noise floor", reason, is_evidence=found.change == "no difference"),)


def _with_margin(found: Measurements, margin: float) -> Measurements:
    latency = found.latency
    if latency.ratio_to_reference is None or latency.ratio_ci95 is None:
        return found
    judged = with_ratio(latency, latency.ratio_to_reference, latency.ratio_ci95, margin=margin)
    return dataclasses.replace(found, latency=judged)

"""Measures a result against its reference: size, accuracy, latency, memory, placement."""

from __future__ import annotations

import dataclasses
import lzma
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core import catalog
from edgekit.core.artifact import Artifact
from edgekit.core.data import Judgement, Score, SplitName
from edgekit.core.device import DeviceSpec
from edgekit.core.measurement import Latency, Measurements, Memory
from edgekit.core.notes import Note
from edgekit.core.runner import Placement, Session
from edgekit.core.target import Target
from edgekit.engine.bench import (
    BenchModel,
    compare_latency,
    measure_latency,
    measure_memory,
    placement,
)
from edgekit.engine.device_session import open_on_device
from edgekit.engine.figures import with_figures
from edgekit.engine.files import size_bytes
from edgekit.engine.models import describe, paths_of
from edgekit.engine.progress import Progress
from edgekit.engine.targets import device_of
from edgekit.engine.work import natural_runner

if TYPE_CHECKING:
    from edgekit.core.data import Array
    from edgekit.engine.data import LoadedData

__all__ = [
    "KnownOutputs",
    "Pair",
    "Subject",
    "bench_inputs",
    "bench_model",
    "judge_pair",
    "judged_output",
    "measure_one",
    "measure_pair",
    "not_finite",
    "on_target",
    "open_session",
    "score_one",
    "unmeasured",
    "unreal_reason",
    "why_unjudged",
    "xz_bytes",
]

Watch = Callable[[tuple["Array", ...], tuple["Array", ...]], None]

_KNOWN_BYTES = 2**28
_MOST_AT_PRESET_6 = 2**28
_CHUNK, _CHUNK_BYTES = 256, 2**26
"""Samples that are in memory at a time; what bounds the memory of a validation."""


@dataclass(frozen=True)
class Subject:
    """A model and the runtime, with its options, that it runs on; here, or on a device."""

    artifact: Artifact
    runner: str
    options: Any
    device: DeviceSpec | None = None


@dataclass(frozen=True)
class Pair:
    """What was measured of a reference and a result in one run."""

    reference: Measurements
    result: Measurements
    judgement: Judgement | None


def on_target(artifact: Artifact, target: Target, *, is_reference: bool = False) -> Subject:
    """A model on a target's runtime; one of another format on that format's natural runner, here.

    The latter holds for the float reference of a target that has no floats, too.
    """
    is_float = is_reference and bool(target.dtypes) and not _has_its_dtypes(artifact, target)
    if not is_float and target.opens(artifact.format):
        return Subject(artifact, target.runner, target.options, device_of(target))
    runner = natural_runner(artifact.format)
    return Subject(artifact, runner, catalog.load("runners", runner).Options())


def _has_its_dtypes(artifact: Artifact, target: Target) -> bool:
    return all(dtype in target.dtypes for op in describe(artifact).ops for dtype in op.dtypes)


@dataclass
class KnownOutputs:
    """The outputs of one model by rows (start, count), as far as they fit into memory."""

    _held: dict[tuple[int, int], tuple[Array, ...]] = field(default_factory=dict)
    _bytes: int = 0

    def get(self, rows: tuple[int, int], run: Callable[[], tuple[Array, ...]]) -> tuple[Array, ...]:
        """The outputs for these rows; `run` makes them where they are not known."""
        if rows in self._held:
            return self._held[rows]
        made = run()
        self._bytes += sum(array.nbytes for array in made)
        if self._bytes <= _KNOWN_BYTES:
            self._held[rows] = made
        return made


def measure_pair(
    reference: Subject,
    result: Subject,
    *,
    data: LoadedData | None,
    seed: int,
    bars: Progress,
) -> Pair:
    """Measures both models the same way; the test split is opened here and nowhere before."""
    unreal = unreal_reason(reference) or unreal_reason(result)
    if unreal:
        return _unmeasured_pair(reference, result, unreal)
    judgement = None
    if data is not None and data.can_judge:
        judgement = judge_pair(reference, result, data=data, bars=bars)
    inputs = [bench_inputs(subject, data, seed=seed) for subject in (reference, result)]
    models = bench_model(reference), bench_model(result)
    with bars("latency, interleaved", 3) as bar:
        latencies = compare_latency(*models, inputs=inputs[1], reference_inputs=inputs[0])
        bar.advance()
        memories = tuple(
            measure_memory(model, inputs=own) for model, own in zip(models, inputs, strict=True)
        )
        bar.advance()
        placements = tuple(placement(model) for model in models)
        bar.advance()
    scores = (judgement.reference, judgement.result) if judgement else (None, None)
    subjects = (reference, result)
    both = []
    for i in (0, 1):
        latency, memory, figures = with_figures(
            models[i], inputs=inputs[i], latency=latencies[i], memory=memories[i]
        )
        found = _measurements(subjects[i], scores[i], latency, memory, placements[i])
        both.append(dataclasses.replace(found, figures=figures))
    return Pair(both[0], both[1], judgement)


def measure_one(
    subject: Subject,
    *,
    inputs: tuple[Array, ...],
    score: Score | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Measurements:
    """Measures one model alone; `advance` is called after its latency and after its memory."""
    if unreal_reason(subject):
        return unmeasured(subject, unreal_reason(subject))
    model = bench_model(subject)
    latency = measure_latency(model, inputs=inputs)
    advance()
    memory = measure_memory(model, inputs=inputs)
    advance()
    latency, memory, figures = with_figures(model, inputs=inputs, latency=latency, memory=memory)
    found = _measurements(subject, score, latency, memory, placement(model))
    return dataclasses.replace(found, figures=figures)


def unreal_reason(subject: Subject) -> str:
    """Why nothing measured on this runner counts; '' for a real one."""
    reason: str = catalog.load("runners", subject.runner).UNREAL
    return reason


def _unmeasured_pair(reference: Subject, result: Subject, reason: str) -> Pair:
    both = [unmeasured(subject, reason) for subject in (reference, result)]
    return Pair(both[0], both[1], None)


def unmeasured(subject: Subject, reason: str) -> Measurements:
    """The sizes alone, and what a device says of the ops: what is left where no output counts."""
    placed = Placement((), reason)
    if subject.device is not None:
        placed = placement(bench_model(subject))
    nothing = Latency("unmeasured", reason), Memory("unmeasured", reason)
    return _measurements(subject, None, *nothing, placed)


def judge_pair(
    reference: Subject,
    result: Subject,
    *,
    data: LoadedData,
    bars: Progress,
    split: SplitName = "test",
    known: KnownOutputs | None = None,
    watch: Watch | None = None,
) -> Judgement:
    """Runs both models over a split and compares what they say, sample by sample.

    `known` keeps the reference's outputs for the next call with the same reference and split;
    `watch` is shown the outputs of both, batch by batch.
    """
    subjects = {"reference": reference, "result": result}
    task = _run(subjects, data=data, bars=bars, split=split, known=known, watch=watch)
    judgement: Judgement = task.compare("reference", "result")
    return judgement


def score_one(subject: Subject, *, data: LoadedData, bars: Progress) -> Score:
    """Runs one model over the test split."""
    score: Score = _run({"result": subject}, data=data, bars=bars, split="test").score("result")
    return score


def _run(
    subjects: dict[str, Subject],
    *,
    data: LoadedData,
    bars: Progress,
    split: SplitName,
    known: KnownOutputs | None = None,
    watch: Watch | None = None,
) -> Any:
    task = data.new_task()
    order = _output_orders(subjects, data.judged)
    with ExitStack() as stack:
        sessions = {
            role: stack.enter_context(closing(open_session(subject)))
            for role, subject in subjects.items()
        }
        total = data.split_sizes[split]
        bar = stack.enter_context(bars(f"validate on {total} samples", total))
        start = 0
        for inputs, labels in _batches(subjects, data, split):
            outputs = {}
            count = len(next(iter(inputs.values()))[0])
            for role, session in sessions.items():
                found = _outputs(session, inputs[role], (start, count), known, role)
                outputs[role] = tuple(found[index] for index in order[role])
            first = next(iter(inputs.values()))
            task.update(outputs, first, labels)
            if watch is not None:
                watch(outputs["reference"], outputs["result"])
            bar.advance(count)
            start += count
    return task


def _outputs(
    session: Session,
    inputs: tuple[Array, ...],
    rows: tuple[int, int],
    known: KnownOutputs | None,
    role: str,
) -> tuple[Array, ...]:
    from edgekit.engine.inference import real_outputs

    if known is None or role != "reference":
        return real_outputs(session, inputs)
    return known.get(rows, lambda: real_outputs(session, inputs))


def _batches(
    subjects: dict[str, Subject], data: LoadedData, split: SplitName
) -> Iterator[tuple[dict[str, tuple[Array, ...]], Array | None]]:
    """The same samples for each role, each in the order, shape and scaling of its own model.

    Roles whose models take the same share one reading of the data.
    """
    keys = {role: _takes(subject.artifact) for role, subject in subjects.items()}
    artifacts = {keys[role]: subject.artifact for role, subject in subjects.items()}
    size = min(_rows(artifact) for artifact in artifacts.values())
    feeds = {
        key: data.batches(split, size, describe(artifact).signature, artifact.scaling)
        for key, artifact in artifacts.items()
    }
    for read in zip(*feeds.values(), strict=True):
        by_key = dict(zip(feeds, read, strict=True))
        labels = read[0][1]
        yield {role: by_key[key][0] for role, key in keys.items()}, labels


def _rows(artifact: Artifact) -> int:
    """As many samples as keep the inputs of a batch within bounds."""
    specs = describe(artifact).signature.inputs
    sample = 4 * sum(math.prod(size or 1 for size in spec.sample_shape) for spec in specs)
    return max(1, min(_CHUNK, _CHUNK_BYTES // max(1, sample)))


def _takes(artifact: Artifact) -> tuple[object, ...]:
    """What decides how raw samples become this model's real-valued inputs."""
    from edgekit.engine.data_inputs import takes_integers

    specs = describe(artifact).signature.inputs
    named = len(specs) > 1
    inputs = (
        (spec.name if named else "", spec.sample_shape, takes_integers(spec) and spec.dtype)
        for spec in specs
    )
    return (*inputs, artifact.scaling)


def _output_orders(
    subjects: dict[str, Subject], judged: tuple[str, int]
) -> dict[str, tuple[int, ...]]:
    """Which of its outputs each role gives first, second, ...: by name, as the first role has them.

    Where the names differ they go by position. The judged one comes first.
    """
    names = {
        role: [spec.name for spec in describe(subject.artifact).signature.outputs]
        for role, subject in subjects.items()
    }
    wanted = next(iter(names.values()))
    first, position = judged
    place = wanted.index(first) if first in wanted else position
    wanted = [wanted[place], *wanted[:place], *wanted[place + 1 :]]
    positions = [place, *(i for i in range(len(wanted)) if i != place)]
    return {
        role: tuple(own.index(name) for name in wanted)
        if set(own) == set(wanted) and len(set(own)) == len(own)
        else tuple(positions)
        for role, own in names.items()
    }


def open_session(subject: Subject) -> Session:
    """Opens a model on its target's runtime, on the target's device where it has one."""
    runner = catalog.load("runners", subject.runner)
    signature = describe(subject.artifact).signature
    if subject.device is not None:
        return open_on_device(
            subject.device,
            _files(subject.artifact),
            format=subject.artifact.format,
            signature=signature,
            options=dataclasses.asdict(subject.options),
        )
    session: Session = runner.open(subject.artifact.path, signature, subject.options)
    return session


def _files(artifact: Artifact) -> dict[str, Path]:
    """A model and the files that belong to it, by the names that they have beside each other."""
    own, *parts = paths_of(artifact)
    return {own.name: own, **{part.relative_to(own.parent).as_posix(): part for part in parts}}


def bench_model(subject: Subject) -> BenchModel:
    """What the measuring process needs to know of a model."""
    return BenchModel(
        path=subject.artifact.path,
        format=subject.artifact.format,
        signature=describe(subject.artifact).signature,
        runner=subject.runner,
        options=dataclasses.asdict(subject.options),
        device=subject.device,
        files=_files(subject.artifact) if subject.device is not None else {},
    )


def judged_output(subject: Subject, data: LoadedData | None) -> tuple[Note, ...]:
    """Says which of several outputs the tasks judge, where nobody chose it."""
    outputs = describe(subject.artifact).signature.outputs
    if len(outputs) < 2 or data is None or data.judged[0]:
        return ()
    reason = (
        f"the first of {len(outputs)}; --output names another, and a python: task of your own "
        "sees all of them"
    )
    return (Note("judged", f"output '{outputs[0].name}'", reason),)


def not_finite(judgement: Judgement) -> tuple[Note, ...]:
    """Says that the float model itself gives NaN or infinity: a drop from that means nothing."""
    count = judgement.reference.details.get("nonfinite_outputs", 0.0)
    if not count:
        return ()
    reason = f"NaN or infinite on {count:.0f} of {judgement.reference.n} test samples"
    return (Note("not finite", "the outputs of the float model", reason),)


def why_unjudged(subject: Subject, data: LoadedData | None) -> str:
    """Why there is no accuracy, in the words of a verdict."""
    if unreal_reason(subject):
        return unreal_reason(subject)
    if data is None:
        return "no validation data was given (--data)"
    return f"{data.where} has no labels"


def bench_inputs(
    subject: Subject, data: LoadedData | None, *, seed: int, split: SplitName = "test"
) -> tuple[Array, ...]:
    """One sample to run: a real one where there is data, else a seeded random one."""
    from edgekit.engine.data import random_inputs

    signature = describe(subject.artifact).signature
    if data is None:
        return random_inputs(signature, 1, seed)
    inputs, _ = next(data.batches(split, 1, signature, subject.artifact.scaling))
    return inputs


def xz_bytes(*models: Path) -> int:
    """Bytes after xz, streamed: what an over-the-air update would carry.

    The preset is xz's own, 6; beyond 256 MB it is 0, as the other would take many minutes.
    """
    paths = [
        file
        for path in models
        for file in ([path] if path.is_file() else sorted(path.rglob("*")))
        if file.is_file()
    ]
    is_large = sum(path.stat().st_size for path in paths) > _MOST_AT_PRESET_6
    compressor, total = lzma.LZMACompressor(preset=0 if is_large else 6), 0
    for item in paths:
        with item.open("rb") as file:
            while block := file.read(1 << 20):
                total += len(compressor.compress(block))
    return total + len(compressor.flush())


def _measurements(
    subject: Subject, score: Score | None, latency: Latency, memory: Memory, placed: Placement
) -> Measurements:
    paths = paths_of(subject.artifact)
    return Measurements(
        digest=subject.artifact.digest,
        size_bytes=sum(map(size_bytes, paths)),
        size_compressed_bytes=xz_bytes(*paths),
        score=score,
        latency=latency,
        memory=memory,
        placement=placed,
    )

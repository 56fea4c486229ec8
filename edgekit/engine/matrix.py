"""One model on many targets: the same inputs everywhere, held against the reference kernels."""

from __future__ import annotations

import dataclasses
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core import catalog
from edgekit.core.artifact import Artifact, TensorSpec
from edgekit.core.data import Judgement
from edgekit.core.limits import Verdict, worst
from edgekit.core.measurement import Figure, Latency, Memory
from edgekit.core.notes import Note
from edgekit.core.target import Target, load_target
from edgekit.engine.bench import compare_latency, measure_latency, measure_memory
from edgekit.engine.bundle_write import drivers_of
from edgekit.engine.bundles import Bundle, is_bundle, open_bundle
from edgekit.engine.bundling import selftest_on
from edgekit.engine.compress import DataRequest, open_for
from edgekit.engine.device_session import delegates_of, device_module
from edgekit.engine.fallbacks import fallback_notes, share_verdicts
from edgekit.engine.figures import with_figures
from edgekit.engine.measure import (
    KnownOutputs,
    Subject,
    bench_inputs,
    bench_model,
    judge_pair,
    on_target,
    open_session,
)
from edgekit.engine.models import describe
from edgekit.engine.open_model import open_model
from edgekit.engine.progress import Progress, silent
from edgekit.engine.targets import check_runs, device_of, through_run_py
from edgekit.engine.work import natural_runner
from edgekit.errors import EdgekitError, UsageError
from edgekit.on_device.kernels import FORMAT_OF_C

if TYPE_CHECKING:
    from edgekit.core.data import Array
    from edgekit.engine.data import LoadedData

__all__ = ["Matrix", "Row", "validate_on"]

_ORACLE = "reference"
_SECONDS = 1.0


@dataclass(frozen=True)
class Row:
    """What one target made of the model; `problem` is why it could not be run there.

    `max_lsb` is the largest difference to the reference kernels over integer outputs, in steps of
    the output's scale; `max_relative` that over float outputs, relative to the largest absolute
    value of the output. `reference_lsb` is the largest difference of the reference kernels there to
    those here, over the golden samples: 0 where they are the same. `selftest` is what the bundle
    says of itself there, '' where it is in order. `latency_ratio` is to the first target that is
    timed on this machine. `notes` say what did not run where it was to run, `verdicts` whether that
    breaks the target's limit.
    """

    target: str
    where: str
    problem: str = ""
    runtime: str = ""
    judgement: Judgement | None = None
    samples: int = 0
    max_lsb: int | None = None
    max_relative: float | None = None
    reference_lsb: int | None = None
    selftest: str | None = None
    latency_ratio: float | None = None
    latency_ci95: tuple[float, float] | None = None
    latency_note: str = ""
    median_ns: int | None = None
    memory: Memory | None = None
    placement: Mapping[str, int] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    notes: tuple[Note, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Matrix:
    """One model on many targets, keyed by its digest; all rows are held against `oracle`."""

    model: str
    digest: str
    oracle: str
    inputs: str
    rows: tuple[Row, ...]

    @property
    def exit_code(self) -> int:
        """1 where a bundle does not prove itself or ops fell back, 3 where one could not be run."""
        if any(row.selftest or worst(row.verdicts) == "fail" for row in self.rows):
            return 1
        return 3 if any(row.problem for row in self.rows) else 0


def validate_on(
    model: str,
    targets: Sequence[str],
    *,
    data: DataRequest | None = None,
    seed: int = 0,
    threads: int | None = None,
    bars: Progress = silent,
) -> Matrix:
    """Runs the golden inputs of a bundle, and the test split of `data`, on every target.

    What a bundle carries to the device, `run.py`, is what runs everywhere, also on this machine. A
    target that does not work here has its reason in the row; the others go on.

    Raises:
        UsageError: no such target, a model that is no file of theirs, or data that does not fit.
    """
    bundle = open_bundle(Path(model)) if is_bundle(Path(model)) else None
    artifact = bundle.artifact if bundle else open_model(model)
    loaded = [through_run_py(load_target(name, overrides={"threads": threads})) for name in targets]
    for target in loaded:
        if not target.opens(artifact.format):
            raise UsageError(
                f"--targets: '{target.name}' takes {target.format}, and the model is "
                f"{artifact.format}",
                hint="name targets of one format",
            )
    artifact, opened = open_for(artifact, data, seed=seed)
    oracle = _oracle(artifact)
    shared = _Shared(artifact, oracle, opened, bundle, seed, bars)
    rows = [_row(target, shared) for target in loaded]
    return Matrix(
        model=artifact.name,
        digest=artifact.digest,
        oracle=f"the runner '{oracle.runner}' on {platform.machine()}",
        inputs=_inputs_text(bundle, opened),
        rows=tuple(_timed(loaded, rows, shared)),
    )


@dataclass
class _Shared:
    """What all rows have in common."""

    artifact: Artifact
    oracle: Subject
    data: LoadedData | None
    bundle: Bundle | None
    seed: int
    bars: Progress
    known: KnownOutputs = field(default_factory=KnownOutputs)

    def __post_init__(self) -> None:
        self.golden = self.bundle.golden() if self.bundle is not None else None

    def subject(self, target: Target) -> Subject:
        return on_target(self.artifact, target)


def _oracle(artifact: Artifact) -> Subject:
    """The reference kernels where the format has them, else the natural runner."""
    reference = catalog.load("runners", _ORACLE)
    name = _ORACLE if artifact.format in reference.FORMATS else natural_runner(artifact.format)
    return Subject(artifact, name, catalog.load("runners", name).Options())


def _inputs_text(bundle: Bundle | None, data: LoadedData | None) -> str:
    parts = []
    if bundle is not None:
        parts.append(f"{bundle.manifest.golden.count} golden samples")
    if data is not None:
        parts.append(f"{data.split_sizes['test']} test samples of {data.dataset.name}")
    return " and ".join(parts) or "none: give --data, or a bundle"


def _row(target: Target, shared: _Shared) -> Row:
    where = _where(target)
    try:
        check_runs(target)
        differences = _Differences(describe(shared.artifact).signature.outputs)
        subject = shared.subject(target)
        with closing(open_session(subject)) as session:
            placed = session.placement()
            if shared.golden is not None:
                inputs, expected = shared.golden
                differences.add(expected, session.run(inputs))
            facts: Mapping[str, Any] = getattr(session, "facts", {})
        reference_lsb = _reference_lsb(subject, shared)
        selftest = _selftest(target, shared)
        judgement = None
        if shared.data is not None:
            judgement = judge_pair(
                shared.oracle,
                subject,
                data=shared.data,
                bars=shared.bars,
                known=shared.known,
                watch=differences.add_real,
            )
    except EdgekitError as error:
        return Row(target.name, where, problem=f"{error.message}{_hint(error)}")
    return Row(
        target=target.name,
        where=where,
        runtime=f"{facts.get('runtime', '')} {facts.get('version', '')}".strip(),
        judgement=judgement,
        samples=differences.samples,
        max_lsb=differences.lsb,
        max_relative=differences.relative,
        reference_lsb=reference_lsb,
        selftest=selftest,
        notes=fallback_notes(target, placed),
        verdicts=share_verdicts(target, placed),
        placement=dict(Counter(op.where for op in placed.ops)),
    )


def _reference_lsb(subject: Subject, shared: _Shared) -> int | None:
    """How far the reference kernels there are from those here; None where there are none."""
    runner = catalog.load("runners", subject.runner)
    if shared.golden is None or not hasattr(runner, "REFERENCE"):
        return None
    options = dataclasses.replace(subject.options, **runner.REFERENCE)
    found = _Differences(describe(shared.artifact).signature.outputs)
    with closing(open_session(dataclasses.replace(subject, options=options))) as session:
        inputs, expected = shared.golden
        found.add(expected, session.run(inputs))
    return found.lsb


def _selftest(target: Target, shared: _Shared) -> str | None:
    """What the bundle itself finds there, whatever target it was made for."""
    if shared.bundle is None or target.device is None or not target.runtimes:
        return None
    is_tflite = shared.artifact.format == FORMAT_OF_C
    if not drivers_of(target, is_tflite=is_tflite) <= set(shared.bundle.files()):
        return None  # It was made for a target without this runtime, and has nothing to open it.
    device = device_of(target)
    assert device is not None, "a target with a device runs on one"
    own = {"runtimes": list(target.runtimes), "delegates": delegates_of(device)}
    result, _ = selftest_on(device, shared.bundle, any_machine=True, **own)
    return str(result.get("error", ""))


def _hint(error: EdgekitError) -> str:
    return f" ({error.hint})" if error.hint else ""


def _where(target: Target) -> str:
    if target.device is None:
        return f"this machine ({platform.machine()})"
    return device_module(target.device).describe(target.device.options)


@dataclass
class _Differences:
    """The largest differences of all outputs that were compared."""

    specs: tuple[TensorSpec, ...]
    lsb: int | None = None
    relative: float | None = None
    samples: int = 0

    def add(self, expected: Iterable[Array], found: Iterable[Array]) -> None:
        """Takes outputs in the model's own dtypes."""
        import numpy as np

        for spec, want, have in zip(self.specs, expected, found, strict=True):
            if want.dtype.kind in "iu":
                self._integers(want.astype(np.int64) - have.astype(np.int64))
            else:
                self._floats(want.astype(np.float64), have.astype(np.float64))
            self.samples += len(want) if spec is self.specs[0] else 0

    def add_real(self, expected: Sequence[Array], found: Sequence[Array]) -> None:
        """Takes real values, as tasks judge them; the judged output comes first."""
        import numpy as np

        for want, have in zip(expected, found, strict=True):
            spec = self._spec_of(want)
            if spec is not None and spec.quantization is not None:
                steps = (
                    want.astype(np.float64) - have.astype(np.float64)
                ) / spec.quantization.scale
                self._integers(np.rint(steps).astype(np.int64))
            else:
                self._floats(want.astype(np.float64), have.astype(np.float64))
        self.samples += len(expected[0])

    def _spec_of(self, array: Array) -> TensorSpec | None:
        """The spec of an output by its shape; None where several could be meant."""
        if len(self.specs) == 1:
            return self.specs[0]
        fits = [spec for spec in self.specs if len(spec.shape) == array.ndim]
        scales = {spec.quantization for spec in fits}
        return fits[0] if len(scales) == 1 else None

    def _integers(self, steps: Any) -> None:
        worst = int(abs(steps).max(initial=0))
        self.lsb = max(self.lsb or 0, worst)

    def _floats(self, want: Any, have: Any) -> None:
        import numpy as np

        largest = float(np.abs(want).max(initial=0)) or 1.0
        worst = float(np.abs(want - have).max(initial=0)) / largest
        self.relative = max(self.relative or 0.0, worst)


def _timed(targets: Sequence[Target], rows: Sequence[Row], shared: _Shared) -> Iterable[Row]:
    """Latency against the first target that runs on this machine, side by side; and memory."""
    base: Target | None = None
    for target, row in zip(targets, rows, strict=True):
        module = device_module(target.device) if target.device is not None else None
        if row.problem or module is None:
            yield row
            continue
        assert target.device is not None
        if untimed := module.untimed(target.device.options):
            yield _told(row, target, untimed, shared)
            continue
        is_here = bool(getattr(module, "IS_HERE", False))
        yield _measured(row, target, base if is_here else None, shared)
        base = base or (target if is_here else None)


def _told(row: Row, target: Target, untimed: str, shared: _Shared) -> Row:
    """With what the target itself tells of time, memory and the like, named as such."""
    subject = shared.subject(target)
    latency, memory, figures = with_figures(
        bench_model(subject),
        inputs=bench_inputs(subject, shared.data, seed=shared.seed),
        latency=Latency("unmeasured", untimed),
        memory=Memory("unmeasured", untimed),
    )
    note = untimed if latency.median_ns is None else f"{latency.kind}: {latency.reason}"
    return dataclasses.replace(
        row, latency_note=note, median_ns=latency.median_ns, memory=memory, figures=figures
    )


def _measured(row: Row, target: Target, base: Target | None, shared: _Shared) -> Row:
    """With the latency of a target, against `base` where there is one, and its memory."""
    subject = shared.subject(target)
    sample = bench_inputs(subject, shared.data, seed=shared.seed)
    model = bench_model(subject)
    with shared.bars(f"latency on {target.name}", 1):
        if base is None:
            latency = measure_latency(model, inputs=sample, seconds=_SECONDS)
        else:
            against = bench_model(shared.subject(base))
            _, latency = compare_latency(against, model, inputs=sample, seconds=_SECONDS)
    return dataclasses.replace(
        row,
        latency_ratio=latency.ratio_to_reference,
        latency_ci95=latency.ratio_ci95,
        latency_note=latency.reason,
        median_ns=latency.median_ns,
        memory=measure_memory(model, inputs=sample),
    )

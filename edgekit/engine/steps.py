"""Runs the steps of a plan: check, act, check, and keep the result in the cache."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import frameworks
from edgekit.core.artifact import Artifact
from edgekit.core.format import Format
from edgekit.core.plan import Plan, Step
from edgekit.core.report import StepRecord
from edgekit.core.technique import Draft
from edgekit.core.training import TrainingOptions
from edgekit.engine.cache import CachedStep, StepCache, content_digest, key_of
from edgekit.engine.data_training import training_data
from edgekit.engine.files import disk_errors, remove, size_bytes
from edgekit.engine.models import ModelFiles, describe, format_of
from edgekit.engine.passes import load_pass, rungs_of
from edgekit.engine.progress import Progress, silent
from edgekit.engine.work import PassWork
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks import training
from edgekit.frameworks.files import sha256
from edgekit.frameworks.strategies import replicas, start, worker_name
from edgekit.version import __version__

if TYPE_CHECKING:
    from edgekit.engine.data import LoadedData

__all__ = [
    "Run",
    "check_needs",
    "check_samples",
    "check_step",
    "start_workers",
]


@dataclass
class Run:
    """One run over one source: what its steps share, and the artifacts that they made."""

    cache: StepCache
    seed: int
    data: LoadedData | None
    bars: Progress = silent
    hooks: Mapping[str, Any] = field(default_factory=dict)
    lineage: dict[str, Artifact] = field(default_factory=dict)
    _own: str = field(default_factory=lambda: uuid.uuid4().hex)
    _done: dict[str, tuple[Artifact, StepRecord]] = field(default_factory=dict)

    def adopt(self, artifact: Artifact) -> Artifact:
        """Makes an artifact known as an ancestor of what comes."""
        self.lineage[artifact.digest] = artifact
        return artifact

    def plan(self, plan: Plan, source: Artifact) -> tuple[Artifact, tuple[StepRecord, ...]]:
        """Runs all steps; a step that this run has done already is not done or reported anew.

        Raises:
            UsageError: a step needs data that was not given, or cannot apply to this model.
            PromiseError: a step did not do what it declares.
        """
        check_needs(plan, has_data=self.data is not None)
        artifact, records = source, []
        for step in plan.steps:
            artifact, record = self.step(step, artifact)
            records.append(record)
        return artifact, tuple(records)

    def step(self, step: Step, source: Artifact) -> tuple[Artifact, StepRecord]:
        """Runs one step, or takes its result from the cache."""
        key = self._key(step, source)
        if key not in self._done:
            found = self._find(key, step)
            made = found or self._make(key, step, source)
            artifact = self.adopt(self._artifact(step, source, made))
            self._done[key] = artifact, _record(step, made, cached=found is not None)
        return self._done[key]

    def rank(self, step: Step, source: Artifact) -> tuple[tuple[str, float], ...]:
        """The ops of a model by what this step costs each of them, the worst first; cached.

        Raises:
            UsageError, PromiseError: it cannot be found out.
        """
        key = key_of({"rank": self._key(step, source)})
        found = self.cache.find(key, digest_of=sha256)
        if found is None:
            check_step(step, source)
            with (
                self.cache.scratch() as scratch,
                disk_errors("EDGEKIT_CACHE", self.cache.root),
                contextlib.closing(self._work(step, source, scratch, scratch)) as work,
            ):
                started = time.perf_counter()
                ranking = load_pass(step).rank(step.parameters, source, work)
                made = scratch / "ranking.json"
                made.write_text(json.dumps(ranking), encoding="utf-8")
                seconds = time.perf_counter() - started
                finished = CachedStep(made, sha256(made), seconds, tuple(work.notes))
                found = self.cache.store(key, finished, digest_of=sha256)
        rows = json.loads(found.path.read_text(encoding="utf-8"))
        return tuple((str(name), float(cost)) for name, cost in rows)

    def check(self, plan: Plan, source: Artifact, *, is_draft: bool = False) -> None:
        """Asks every step that is yet to be done, and that can be asked already, before any work.

        What lies in the cache was asked before it was made, and what needs no data and comes first
        is done, so that the others are asked about its result. Steps on another format are asked
        by `check_rest`, and those behind a step that changes the layers about its draft, if it
        gives one (`core.technique.Draft`), in all formats.

        `is_draft` says that `source` is a draft itself: nothing that is made of it is kept.

        Raises:
            UsageError: a step cannot work on the model or with the data.
        """
        check_samples(plan, self.data)
        steps, current = plan.steps, source
        if not is_draft:
            steps, current, is_draft = self._ready(steps, current)
        with self.cache.scratch() as folder:
            drafts = dataclasses.replace(
                self,
                cache=StepCache(folder),
                bars=silent,
                lineage={current.digest: current},
                _done={},
            )
            with contextlib.suppress(PromiseError):  # Weights that are not trained may break one.
                drafts._ask(steps, current, is_draft=is_draft)

    def _ready(
        self, steps: tuple[Step, ...], source: Artifact
    ) -> tuple[tuple[Step, ...], Artifact, bool]:
        """The steps that are yet to be done, what they begin with, and whether one of them trains
        other layers than the source has: `check_rest` cannot ask those behind it."""
        current, other_layers = source, False
        for place, step in enumerate(steps):
            found = self._find(self._key(step, current), step)
            keeps_format = step.accepts == step.produces == current.format
            if found is not None:
                current = self.adopt(self._artifact(step, current, found))
            elif keeps_format and _is_plain(step):
                current, _ = self.step(step, current)
            else:
                rest = steps[place:]
                return rest, current, other_layers and any("train" in s.needs for s in rest)
            other_layers |= _changes_layers(step)
        return (), current, other_layers

    def _ask(self, steps: tuple[Step, ...], source: Artifact, *, is_draft: bool) -> None:
        """Asks steps about a model, and those behind other layers about a draft.

        This run's cache is for drafts alone. To convert one, or to do what needs no data, is
        quicker than the training that would be in vain.
        """
        current, same_layers = source, True
        for place, step in enumerate(steps):
            if step.accepts != current.format:
                return
            if is_draft and same_layers and _is_plain(step) and place + 1 < len(steps):
                current, _ = self.step(step, current)
                continue
            self._check_labels(step, current)
            if not same_layers:
                continue
            draft = check_step(step, current)
            if draft is not None:
                current, is_draft = self._drafted(step, current, draft), True
            same_layers = draft is not None or not _changes_layers(step)

    def _drafted(self, step: Step, source: Artifact, draft: Draft) -> Artifact:
        own = format_of(step.produces)
        path = self.cache.root / f"draft-{len(self.lineage)}{own.SUFFIXES[0]}"
        draft(path)
        made = CachedStep(path, own.digest(path), 0.0, ())
        return self.adopt(self._artifact(step, source, made))

    def check_rest(self, plan: Plan, reference: Artifact) -> None:
        """Asks the steps that work on the target's format about the float model in that format.

        Raises:
            UsageError: one of them cannot work on it.
        """
        for step in plan.steps:
            if step.accepts == reference.format != plan.source_format:
                check_step(step, reference)
            if _changes_layers(step):
                return

    def _check_labels(self, step: Step, source: Artifact) -> None:
        if self.data is not None and isinstance(step.parameters, TrainingOptions):
            signature = describe(source).signature
            held = training_data(self.data, signature, source.scaling)
            training.check_labels(held, signature, step.parameters, self.hooks)

    def _find(self, key: str, step: Step) -> CachedStep | None:
        if _worker(step):
            # The other workers wait for this one: all of them train, or none.
            return None
        return self.cache.find(key, digest_of=format_of(step.produces).digest)

    def _make(self, key: str, step: Step, source: Artifact) -> CachedStep:
        """Does a step; one that trains has a folder that outlives an interruption.

        Two runs that train the same take turns, and the second finds the step done.
        """
        if "train" not in step.needs:
            with self.cache.scratch() as checkpoints:
                return self._apply(key, step, source, checkpoints)
        with self.cache.training(f"{key}{_worker(step)}") as checkpoints:
            made = self._find(key, step) or self._apply(key, step, source, checkpoints)
            remove(checkpoints)
            return made

    def _apply(self, key: str, step: Step, source: Artifact, checkpoints: Path) -> CachedStep:
        started = time.perf_counter()
        module, made_format = load_pass(step), format_of(step.produces)
        check_step(step, source)
        with (
            self.cache.scratch() as scratch,
            disk_errors("EDGEKIT_CACHE", self.cache.root),
            contextlib.closing(self._work(step, source, scratch, checkpoints)) as work,
        ):
            module.apply(step.parameters, source, work)
            if not work.output.exists():
                raise AssertionError(f"{step.name} wrote nothing to {work.output}")
            if made_format.read_scaling(work.output) != _stored(source):
                made_format.write_scaling(work.output, source.scaling)
            _check_made(step, made_format, work.output)
            digest = made_format.digest(work.output)
            made = CachedStep(work.output, digest, 0.0, ())
            module.verify(step.parameters, source, self._artifact(step, source, made), work)
            seconds = time.perf_counter() - started
            notes, curves = tuple(work.notes), tuple(work.curves)
            finished = CachedStep(work.output, digest, seconds, notes, curves)
            return self.cache.store(
                key,
                finished,
                digest_of=made_format.digest,
                parts=made_format.parts(work.output),
            )

    def _work(self, step: Step, source: Artifact, scratch: Path, checkpoints: Path) -> PassWork:
        own = scratch / "work"
        own.mkdir()
        return PassWork(
            step=step.name,
            needs=step.needs,
            folder=own,
            output=scratch / f"model{format_of(step.produces).SUFFIXES[0]}",
            checkpoints=checkpoints,
            seed=self.seed,
            source=source,
            origin=self._origin(source),
            hooks=self.hooks,
            lineage=self.lineage,
            data=self.data,
            bars=self.bars,
        )

    def _artifact(self, step: Step, source: Artifact, made: CachedStep) -> Artifact:
        return dataclasses.replace(
            source,
            path=made.path,
            format=step.produces,
            digest=made.digest,
            made_by=step.name,
            parent=source.digest,
        )

    def _ancestors(self, source: Artifact) -> list[Artifact]:
        """The models from which a step's source was made, nearest first."""
        found: dict[str, Artifact] = {}
        parent = self.lineage.get(source.parent or "")
        while parent is not None and parent.digest not in found:
            found[parent.digest] = parent
            parent = self.lineage.get(parent.parent or "")
        return list(found.values())

    def _origin(self, source: Artifact) -> Artifact:
        return (source, *self._ancestors(source))[-1]

    def _key(self, step: Step, source: Artifact) -> str:
        module = load_pass(step)
        assert module.__file__ is not None, step.name
        code = Path(module.__file__)
        private = "*.py" if step.kind == "technique" else "_*.py"
        own = [code, *code.parent.glob(private)]
        shared = [*Path(frameworks.__file__).parent.glob("*.py"), *_data_code()]
        return key_of(
            {
                "step": [step.kind, step.name, step.accepts, step.produces],
                "settings": step.settings,
                "source": source.digest,
                "ancestors": [artifact.digest for artifact in self._ancestors(source)],
                "files": content_digest(step.files),
                # Functions have no digest: what they made is not for another run to reuse.
                "hooks": self._own if self.hooks and "train" in step.needs else None,
                "scaling": dataclasses.asdict(source.scaling),
                "data": self.data.digest if self.data else None,
                "replicas": replicas(getattr(step.parameters, "strategy", "none")),
                "task": self.data.task if self.data and "train" in step.needs else None,
                "seed": self.seed,
                "versions": {**training.versions(), **module.versions()},
                "edgekit": __version__,
                "code": content_digest([*own, *shared]),
            }
        )


def _changes_layers(step: Step) -> bool:
    return not getattr(step.parameters, "keeps_layers", True)


def _is_plain(step: Step) -> bool:
    """True where a step needs no data and has nothing to try."""
    return not step.needs and not rungs_of(step)


def _check_made(step: Step, made_format: Format, path: Path) -> None:
    """Holds what a step wrote against its format's own rules.

    Raises:
        PromiseError: it is no valid file.
    """
    try:
        made_format.check(path)
    except UsageError as error:
        reason = error.message.removeprefix(f"{path}: ")
        raise PromiseError(f"{step.name}: the {step.produces} file that it made {reason}") from None


def _data_code() -> list[Path]:
    """The code that makes of data what a step gets."""
    engine = Path(__file__).parent
    return [*engine.glob("data*.py"), *(engine.parent / "tasks").glob("*.py")]


def _worker(step: Step) -> str:
    """What tells this process from the others that do the same step together; mostly ''."""
    return worker_name(getattr(step.parameters, "strategy", "none"))


def _stored(source: Artifact) -> object:
    """The scaling a made file must carry: none where it is the identity over an unknown range."""
    known = not source.scaling.is_identity or source.scaling.low is not None
    return source.scaling if known else None


def _record(step: Step, made: CachedStep, *, cached: bool) -> StepRecord:
    parts = format_of(step.produces).parts
    return StepRecord(
        name=step.name,
        kind=step.kind,
        format=step.produces,
        parameters=step.settings,
        digest=made.digest,
        size_bytes=sum(size_bytes(path) for path in (made.path, *parts(made.path))),
        seconds=made.seconds,
        cached=cached,
        notes=made.notes,
        curves=made.curves,
    )


def start_workers(plan: Plan) -> None:
    """Connects to the other workers where a step trains with them: that comes before all else.

    Raises:
        UsageError: TF_CONFIG does not describe a cluster.
    """
    for step in plan.steps:
        if _worker(step):
            start(step.parameters.strategy)


def check_samples(plan: Plan, data: LoadedData | None) -> None:
    """Refuses data with fewer samples in a split than a step cannot do without.

    Raises:
        UsageError: names the first such step.
    """
    for step in plan.steps if data is not None else ():
        for split, count in step.needs.items():
            assert data is not None
            held = data.split_sizes[split]
            if held < count and "train" in step.needs:
                size = f"a batch of {count}" if split == "train" else f"at least {count}"
                raise UsageError(
                    f"{data.where}: has {held} samples in the {split} split, and '{step.name}' "
                    f"needs {size}",
                    hint="give more data, or a smaller batch_size",
                )


def check_needs(plan: Plan, *, has_data: bool) -> None:
    """Refuses a plan whose steps need data that was not given.

    Raises:
        UsageError: names the first such step.
    """
    for step in plan.steps:
        if step.needs and not has_data:
            raise UsageError(
                f"{plan.recipe.promise.source}: '{step.name}' needs data to "
                f"{' and '.join(sorted(step.needs))} on",
                hint="name it with --data",
            )


def check_step(step: Step, source: Artifact) -> Draft | None:
    """Asks a step whether it can work on a model; of a ladder, one rung must be able to.

    Returns the draft of what it will make, where it gives one.

    Raises:
        UsageError: it cannot; the message starts with the model's name.
    """
    try:
        return _ask(step, source)
    except UsageError as error:
        message = error.message
        if not message.startswith("model "):
            message = f"model '{source.name}': {message}"
        raise UsageError(message, hint=error.hint) from None


def _ask(step: Step, source: Artifact) -> Draft | None:
    module = load_pass(step)
    ways = [rung.parameters for rung in rungs_of(step)] or [step.parameters]
    refused: list[UsageError] = []
    for parameters in ways:
        try:
            draft: Draft | None = module.check(parameters, source, ModelFiles())
        except UsageError as error:
            refused.append(error)
        else:
            return draft
    raise refused[0]

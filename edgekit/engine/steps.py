"""Runs the steps of a plan: check, act, check, and keep the result in the cache."""

from __future__ import annotations

import dataclasses
import importlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgekit import frameworks
from edgekit.core import catalog
from edgekit.core.artifact import Artifact
from edgekit.core.plan import Plan, Step
from edgekit.core.report import StepRecord
from edgekit.engine.cache import CachedStep, StepCache, content_digest, key_of
from edgekit.engine.files import disk_errors, size_bytes
from edgekit.engine.models import describe, format_of
from edgekit.engine.progress import Progress, silent
from edgekit.engine.work import PassWork
from edgekit.errors import UsageError
from edgekit.frameworks import training
from edgekit.version import __version__

if TYPE_CHECKING:
    from edgekit.engine.data import LoadedData

__all__ = ["Run", "check_needs", "check_step", "load_pass"]


@dataclass
class Run:
    """One run over one source: what its steps share, and the artifacts that they made."""

    cache: StepCache
    seed: int
    data: LoadedData | None
    bars: Progress = silent
    lineage: dict[str, Artifact] = field(default_factory=dict)
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
            module = load_pass(step)
            found = self.cache.find(key, digest_of=format_of(step.produces).digest)
            made = found or self._make(key, step, module, source)
            artifact = self.adopt(self._artifact(step, source, made))
            self._done[key] = artifact, _record(step, made, cached=found is not None)
        return self._done[key]

    def _make(self, key: str, step: Step, module: ModuleType, source: Artifact) -> CachedStep:
        started = time.perf_counter()
        check_step(step, source)
        made_format = format_of(step.produces)
        with self.cache.scratch() as scratch, disk_errors("EDGEKIT_CACHE", self.cache.root):
            work = self._work(step, source, scratch)
            module.apply(step.parameters, source, work)
            if not work.output.exists():
                raise AssertionError(f"{step.name} wrote nothing to {work.output}")
            if made_format.read_scaling(work.output) != _stored(source):
                made_format.write_scaling(work.output, source.scaling)
            digest = made_format.digest(work.output)
            made = CachedStep(work.output, digest, 0.0, ())
            module.verify(step.parameters, source, self._artifact(step, source, made), work)
            seconds = time.perf_counter() - started
            finished = CachedStep(work.output, digest, seconds, tuple(work.notes))
            return self.cache.store(key, finished, digest_of=made_format.digest)

    def _work(self, step: Step, source: Artifact, scratch: Path) -> PassWork:
        own = scratch / "work"
        own.mkdir()
        return PassWork(
            step=step.name,
            needs=step.needs,
            folder=own,
            output=scratch / f"model{format_of(step.produces).SUFFIXES[0]}",
            seed=self.seed,
            source=source,
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

    def _ancestors(self, source: Artifact) -> list[str]:
        """What a step may fall back on: the models from which its source was made."""
        found: list[str] = []
        parent = self.lineage.get(source.parent or "")
        while parent is not None and parent.digest not in found:
            found.append(parent.digest)
            parent = self.lineage.get(parent.parent or "")
        return found

    def _key(self, step: Step, source: Artifact) -> str:
        module = load_pass(step)
        assert module.__file__ is not None, step.name
        code = Path(module.__file__)
        own = list(code.parent.glob("*.py")) if step.kind == "technique" else [code]
        shared = list(Path(frameworks.__file__).parent.glob("*.py"))
        return key_of(
            {
                "step": [step.kind, step.name, step.accepts, step.produces],
                "settings": step.settings,
                "source": source.digest,
                "ancestors": self._ancestors(source),
                "scaling": dataclasses.asdict(source.scaling),
                "data": self.data.digest if self.data else None,
                "seed": self.seed,
                "versions": {**training.versions(), **module.versions()},
                "edgekit": __version__,
                "code": content_digest([*own, *shared]),
            }
        )


def _stored(source: Artifact) -> object:
    """The scaling a made file must carry: none where it is the identity over an unknown range."""
    known = not source.scaling.is_identity or source.scaling.low is not None
    return source.scaling if known else None


def _record(step: Step, made: CachedStep, *, cached: bool) -> StepRecord:
    return StepRecord(
        name=step.name,
        kind=step.kind,
        format=step.produces,
        parameters=step.settings,
        digest=made.digest,
        size_bytes=size_bytes(made.path),
        seconds=made.seconds,
        cached=cached,
        notes=made.notes,
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


def check_step(step: Step, source: Artifact) -> None:
    """Asks a step whether it can work on a model.

    Raises:
        UsageError: it cannot; the message starts with the model's name.
    """
    try:
        load_pass(step).check(step.parameters, describe(source))
    except UsageError as error:
        message = error.message
        if not message.startswith("model "):
            message = f"model '{source.name}': {message}"
        raise UsageError(message, hint=error.hint) from None


def load_pass(step: Step) -> ModuleType:
    """The module with the step's check, apply, verify and versions; a plug-in's where it is one."""
    if step.kind == "conversion":
        return catalog.load("conversions", step.name)
    return importlib.import_module(f"{catalog.find('techniques', step.name).module}.{step.accepts}")

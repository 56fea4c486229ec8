"""The main job: a model in, a compressed and validated model and its report out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core import catalog
from edgekit.core.artifact import Artifact
from edgekit.core.limits import SourcedLimits, judge
from edgekit.core.notes import Note
from edgekit.core.plan import Plan
from edgekit.core.recipe import Recipe, load_recipe
from edgekit.core.report import DataFacts, Report, StepRecord
from edgekit.core.target import Target
from edgekit.engine import files
from edgekit.engine.cache import StepCache
from edgekit.engine.delegation import NO_DELEGATION, Delegation
from edgekit.engine.fallbacks import check_strictly, delegated, explained, fallback_notes, lenient
from edgekit.engine.ladder import Climbed, climb
from edgekit.engine.ladder import check as check_ladder
from edgekit.engine.machine import fingerprint
from edgekit.engine.measure import (
    judged_output,
    measure_pair,
    not_finite,
    on_target,
    open_session,
    why_unjudged,
)
from edgekit.engine.models import describe, format_of, paths_of, zoo_name
from edgekit.engine.open_model import open_model
from edgekit.engine.passes import load_pass
from edgekit.engine.plans import plan_for
from edgekit.engine.progress import Progress, silent
from edgekit.engine.steps import Run, check_needs, start_workers
from edgekit.engine.targets import (
    check_runs,
    device_facts,
    elsewhere,
    elsewhere_notes,
    open_target,
)
from edgekit.errors import EdgekitError, UnmeasuredError, UsageError
from edgekit.frameworks.files import cache_root
from edgekit.version import __version__

if TYPE_CHECKING:
    from edgekit.engine.data import LoadedData

__all__ = [
    "Built",
    "DataRequest",
    "build",
    "compress",
    "copy_part",
    "data_facts",
    "measure_built",
    "open_for",
    "plan_for",
    "prepare",
    "target_versions",
]


_BUNDLE = "model.ekb"


@dataclass(frozen=True)
class DataRequest:
    """What the user said of the data: `--data`, `--data-options`, `--task`, `--output`."""

    spec: str
    options: str = ""
    task: str | None = None
    output: str | None = None

    def words(self) -> list[str]:
        """The options of the command line that say the same."""
        words = ["--data", self.spec]
        words += ["--data-options", self.options] if self.options else []
        words += ["--task", self.task] if self.task else []
        return words + (["--output", self.output] if self.output else [])


def compress(
    model: str,
    *,
    recipe: str,
    target: str,
    out: Path,
    data: DataRequest | None = None,
    seed: int = 0,
    threads: int | None = None,
    force: bool = False,
    bars: Progress = silent,
    hooks: Mapping[str, Any] | None = None,
    inputs: Sequence[str] = (),
    on: str | None = None,
    delegation: Delegation = NO_DELEGATION,
) -> Report:
    """Compresses `model` as `recipe` says for `target`, and proves it on `data`.

    `inputs` are NAME=1x3x224x224: the shapes of inputs whose axes are open in the file. `on` is the
    device to measure on, where it is not the target's own; `delegation` takes the place of the
    target's delegates.

    Writes into the folder `out` the model and its reports; nothing appears there unless all of it
    succeeds. Limits that are broken are in the report's verdicts, not an exception.

    Raises:
        UsageError: the request is wrong; nothing was done.
        PromiseError: a step did not do what it declares.
    """
    chosen = load_recipe(recipe)
    device = delegated(open_target(target, threads=threads, on=on), delegation)
    _check_apart(model, out)
    replaces = _output_names() | _old_parts(out)
    with files.new_folder(out, what="--out", replaces=replaces, force=force) as folder:
        run, source, plan, trained = prepare(
            model, chosen, device, data=data, seed=seed, bars=bars, hooks=hooks, inputs=inputs
        )
        report = measure_built(build(run, source, plan, trained))
        command = _command(
            model,
            recipe,
            target,
            out,
            data,
            seed=seed,
            threads=threads,
            inputs=inputs,
            on=on,
            delegation=delegation,
        )
        report = dataclasses.replace(report, command=command)
        with files.disk_errors("--out", out):
            report = _with_bundle(report, device, run.data, folder)
            _write(report, folder)
    return report


@dataclass(frozen=True)
class Built:
    """What a recipe made of a model, and its float reference; nothing of it is measured yet."""

    run: Run
    source: Artifact
    reference: Artifact
    climbed: Climbed
    trained: tuple[StepRecord, ...]
    bare: tuple[StepRecord, ...]
    seconds: float


def build(run: Run, source: Artifact, plan: Plan, trained: tuple[StepRecord, ...]) -> Built:
    """Does what `prepare` prepared: the float reference, then the recipe.

    Raises:
        UsageError: a step cannot work on this model.
        PromiseError: a step did not do what it declares.
    """
    started = time.perf_counter()
    # First, because it is quick and is needed anyway: what cannot be converted or quantized is
    # found before hours of training.
    reference, bare = run.plan(_reference_plan(plan), source)
    run.check_rest(plan, reference)
    climbed = climb(run, plan, source, reference)
    return Built(
        run, source, reference, climbed, trained, bare, seconds=time.perf_counter() - started
    )


def measure_built(built: Built, *, limits: tuple[SourcedLimits, ...] = ()) -> Report:
    """Measures what was built; `limits` are held beside those of the target and the recipe."""
    started, climbed = time.perf_counter(), built.climbed
    steps = (*built.trained, *climbed.records)
    report = _report(built, steps, limits)
    own = [note for record in built.bare if record not in climbed.records for note in record.notes]
    seconds = {
        **{record.kind: record.seconds for record in built.trained if not record.cached},
        "compress": built.seconds,
        "validate": time.perf_counter() - started,
    }
    return dataclasses.replace(
        report,
        notes=(*report.notes, *climbed.notes, *own),
        seconds=seconds,
        ladder=climbed.climb,
    )


def _with_bundle(report: Report, target: Target, data: LoadedData | None, folder: Path) -> Report:
    """Writes the result as a bundle too; where it cannot be one, the report says why."""
    from edgekit.engine.bundle_metrics import facts_of
    from edgekit.engine.bundles import write_bundle

    facts = facts_of(json.loads(catalog.load("reporters", "json").render(report)))
    path, made = folder / _BUNDLE, report.result_artifact
    try:
        write_bundle(made, target, path, data=data, seed=report.seed, metrics=facts.metrics)
    except (UsageError, UnmeasuredError) as error:
        path.unlink(missing_ok=True)
        skipped = Note("skipped", _BUNDLE, error.message)
        return dataclasses.replace(report, notes=(*report.notes, skipped))
    return report


def _output_names() -> frozenset[str]:
    """What an output folder can hold; `--force` replaces no other file."""
    suffixes = (end for name in catalog.names("formats") for end in format_of(name).SUFFIXES)
    reports = (catalog.load("reporters", name).SUFFIX for name in catalog.names("reporters"))
    models = {f"model{end}{of}" for end in suffixes for of in ("", ".data")}
    return frozenset({*models, _BUNDLE, *(f"report{end}" for end in reports)})


def _old_parts(out: Path) -> frozenset[str]:
    """What lies beside the model in a folder of an earlier run, as far as it can be read."""
    found: set[str] = set()
    for name in catalog.names("formats"):
        module = format_of(name)
        model = out / f"model{module.SUFFIXES[0]}"
        with contextlib.suppress(EdgekitError, OSError):
            if model.is_file():
                found |= {part.relative_to(out).parts[0] for part in module.parts(model)}
    return frozenset(found)


def _check_parts(source: Artifact) -> None:
    """Refuses files beside a model whose names the output folder needs for others."""
    own, *parts = paths_of(source)
    for part in parts:
        name = part.relative_to(own.parent).parts[0]
        if name in _output_names() and not name.endswith(".data"):
            raise UsageError(
                f"model '{source.path}': its external data is called '{name}', which is the name "
                "of a file of the output",
                hint="export the model with another name for its external data",
            )


def _check_apart(model: str, out: Path) -> None:
    """Refuses to write over the source: it may be the only copy."""
    source = Path(model).resolve()
    if zoo_name(model) is None and out.resolve() in (source, *source.parents):
        raise UsageError(
            f"--out '{out}' holds the model that is to be compressed", hint="name another folder"
        )


def prepare(
    model: str,
    recipe: Recipe,
    target: Target,
    *,
    data: DataRequest | None,
    seed: int,
    bars: Progress,
    hooks: Mapping[str, Any] | None = None,
    inputs: Sequence[str] = (),
) -> tuple[Run, Artifact, Plan, tuple[StepRecord, ...]]:
    """Everything that can be refused is refused here, before any work: model, plan, data."""
    from edgekit.engine import zoo

    name = zoo_name(model)
    if name is not None:
        if inputs:
            raise UsageError(
                f"--input '{inputs[0]}': the shapes of a zoo model come from the data",
                hint="leave --input out",
            )
        plan = plan_for(recipe, target, zoo.FORMAT)
        check_ladder(plan)
        start_workers(plan)
        check_runs(target)
        loaded = zoo.open_training_data(name, data, seed=seed)
        run = Run(StepCache(cache_root()), seed, loaded, bars, hooks or {})
        if not zoo.is_trained(name, run):
            with run.cache.scratch() as folder:
                run.check(plan, zoo.untrained(name, loaded, folder), is_draft=True)
        source, record = zoo.train(name, run)
        run.check(plan, run.adopt(source))
        return run, source, plan, (record,)
    source = open_model(model, inputs)
    _check_parts(source)
    plan = plan_for(recipe, target, source.format)
    check_ladder(plan)
    start_workers(plan)
    check_runs(target)
    check_needs(plan, has_data=data is not None)
    if source.format == target.format:
        open_session(on_target(source, lenient(target), is_reference=True)).close()
    source, opened = open_for(source, data, seed=seed)
    run = Run(StepCache(cache_root()), seed, opened, bars, hooks or {})
    run.check(plan, run.adopt(source))
    return run, source, plan, ()


def open_for(
    source: Artifact, data: DataRequest | None, *, seed: int
) -> tuple[Artifact, LoadedData | None]:
    """Opens the data for a model; a scaling among the data options overrides the model's own.

    Raises:
        UsageError: the data cannot be read, or does not fit the model.
    """
    from edgekit.engine.data import check_fits, open_data
    from edgekit.engine.models import with_scaling

    if data is None:
        return source, None
    signature = describe(source).signature
    opened = open_data(
        data.spec,
        options=data.options,
        signature=signature,
        seed=seed,
        task=data.task,
        output=data.output,
    )
    scaled = with_scaling(source, opened.scaling_override)
    check_fits(opened, signature, scaled.scaling)
    return scaled, opened


def _reference_plan(plan: Plan) -> Plan:
    """The same way to the target's format without any technique: the float reference."""
    bare = Recipe(plan.recipe.name, "", (), plan.recipe.promise)
    return plan_for(bare, plan.target, plan.source_format)


def _report(
    built: Built, records: tuple[StepRecord, ...], limits: tuple[SourcedLimits, ...]
) -> Report:
    run, source, plan = built.run, built.source, built.climbed.plan
    reference, result = built.reference, built.climbed.result
    check_strictly(result, plan.target)
    pair = measure_pair(
        on_target(reference, lenient(plan.target), is_reference=True),
        on_target(result, plan.target),
        data=run.data,
        seed=run.seed,
        bars=run.bars,
    )
    notes = (
        (*judged_output(on_target(result, plan.target), run.data), *not_finite(pair.judgement))
        if pair.judgement
        else ()
    )
    return Report(
        title=f"{source.name} · {plan.recipe.name} · {plan.target.name}",
        source=source,
        recipe=plan.recipe.name,
        target=plan.target.name,
        seed=run.seed,
        edgekit_version=__version__,
        machine=fingerprint(_versions(plan), device=device_facts(plan.target)),
        steps=records,
        reference_artifact=reference,
        reference=pair.reference,
        reference_description=describe(reference),
        result_artifact=result,
        result=pair.result,
        result_description=describe(result),
        data=data_facts(run.data),
        judgement=pair.judgement,
        notes=(
            *elsewhere_notes(plan.target),
            *fallback_notes(plan.target, pair.result.placement),
            *fallback_notes(plan.target, pair.reference.placement, of="reference: "),
            *notes,
        ),
        verdicts=explained(
            judge(
                (*limits, plan.target.limits, plan.recipe.promise),
                pair.result,
                pair.judgement,
                reference=pair.reference,
                unjudged=why_unjudged(on_target(result, plan.target), run.data),
                elsewhere=elsewhere(plan.target),
            ),
            plan.target,
            pair.result.placement,
        ),
    )


def data_facts(data: LoadedData | None) -> DataFacts | None:
    """What the report says of the data."""
    if data is None:
        return None
    return DataFacts(
        data.dataset.name,
        data.digest,
        data.task,
        {str(name): size for name, size in data.split_sizes.items()},
        data.dataset.notes,
    )


def target_versions(target: Target) -> Mapping[str, str]:
    """The packages whose versions change what a target's runtime answers."""
    versions: Mapping[str, str] = catalog.load("runners", target.runner).versions()
    return versions


def _versions(plan: Plan) -> Mapping[str, str]:
    versions = dict(target_versions(plan.target))
    for step in plan.steps:
        versions |= load_pass(step).versions()
    return versions


def _command(
    model: str,
    recipe: str,
    target: str,
    out: Path,
    data: DataRequest | None,
    *,
    seed: int,
    threads: int | None,
    inputs: Sequence[str],
    on: str | None,
    delegation: Delegation,
) -> str:
    words = ["edgekit", "compress", model, "--recipe", recipe, "--target", target]
    words += [word for text in inputs for word in ("--input", text)]
    words += data.words() if data else []
    words += ["--seed", str(seed)] if seed else []
    words += ["--threads", str(threads)] if threads else []
    words += ["--on", on] if on else []
    return shlex.join([*words, *delegation.words(), "--out", str(out)])


def copy_part(part: Path, model_folder: Path, folder: Path) -> None:
    """Copies a file that lies beside a model, or below it, to the same place beside the copy."""
    place = folder / part.relative_to(model_folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(part, place)


def _write(report: Report, folder: Path) -> None:
    """Copies the result and renders every reporter that writes a file."""
    made = report.result_artifact
    suffix = format_of(made.format).SUFFIXES[0]
    own, *parts = paths_of(made)
    if own.is_dir():
        shutil.copytree(own, folder / f"model{suffix}")
    else:
        shutil.copyfile(own, folder / f"model{suffix}")
    for part in parts:
        copy_part(part, own.parent, folder)
    for name in catalog.names("reporters"):
        reporter = catalog.load("reporters", name)
        if reporter.SUFFIX:
            text = reporter.render(report)
            (folder / f"report{reporter.SUFFIX}").write_text(text, encoding="utf-8")

"""The main job: a model in, a compressed and validated model and its report out."""

from __future__ import annotations

import dataclasses
import importlib
import shlex
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core import catalog
from edgekit.core.artifact import Artifact
from edgekit.core.limits import judge
from edgekit.core.plan import Abilities, Plan, make_plan
from edgekit.core.recipe import Recipe, load_recipe
from edgekit.core.report import DataFacts, Report, StepRecord
from edgekit.core.target import Target, load_target
from edgekit.engine import files
from edgekit.engine.cache import StepCache, cache_root
from edgekit.engine.machine import fingerprint
from edgekit.engine.measure import measure_pair, on_target, why_unjudged
from edgekit.engine.models import describe, format_of, open_artifact, zoo_name
from edgekit.engine.progress import Progress, silent
from edgekit.engine.steps import Run
from edgekit.version import __version__

if TYPE_CHECKING:
    from edgekit.engine.data import LoadedData

__all__ = [
    "OUTPUT_NAMES",
    "DataRequest",
    "abilities",
    "compress",
    "data_facts",
    "open_for",
    "plan_for",
    "target_versions",
]

OUTPUT_NAMES = ("model.", "report.")
"""What the files of an output folder start with; `--force` replaces no other."""


@dataclass(frozen=True)
class DataRequest:
    """What the user said of the data: `--data`, `--data-options`, `--task`."""

    spec: str
    options: str = ""
    task: str | None = None

    def words(self) -> list[str]:
        """The options of the command line that say the same."""
        words = ["--data", self.spec]
        words += ["--data-options", self.options] if self.options else []
        return words + (["--task", self.task] if self.task else [])


def abilities() -> Abilities:
    """What the planner may use, from what lies in the folders."""
    techniques = {name: catalog.implementations(name) for name in catalog.names("techniques")}
    return Abilities(techniques, catalog.conversions())


def plan_for(recipe: Recipe, target: Target, source_format: str) -> Plan:
    """The plan with the conversions' default parameters."""
    able = abilities()
    parameters = {
        pair: catalog.load("conversions", f"{pair[0]}-to-{pair[1]}").Parameters()
        for pair in able.conversions
    }
    return make_plan(
        recipe, target, source_format, abilities=able, conversion_parameters=parameters
    )


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
) -> Report:
    """Compresses `model` as `recipe` says for `target`, and proves it on `data`.

    Writes into the folder `out` the model and its reports; nothing appears there unless all of it
    succeeds. Limits that are broken are in the report's verdicts, not an exception.

    Raises:
        UsageError: the request is wrong; nothing was done.
        PromiseError: a step did not do what it declares.
    """
    chosen = load_recipe(recipe)
    device = load_target(target, overrides={"threads": threads})
    with files.new_folder(out, what="--out", replaces=OUTPUT_NAMES, force=force) as folder:
        run, source, plan, trained = prepare(model, chosen, device, data=data, seed=seed, bars=bars)
        started = time.perf_counter()
        result, records = run.plan(plan, source)
        reference, _ = run.plan(_reference_plan(plan), source)
        compressed = time.perf_counter()
        report = _report(run, plan, source, (*trained, *records), reference, result)
        seconds = {
            **{record.kind: record.seconds for record in trained},
            "compress": compressed - started,
            "validate": time.perf_counter() - compressed,
        }
        command = _command(model, recipe, target, out, data, seed=seed, threads=threads)
        report = dataclasses.replace(report, seconds=seconds, command=command)
        _write(report, folder)
    return report


def prepare(
    model: str,
    recipe: Recipe,
    target: Target,
    *,
    data: DataRequest | None,
    seed: int,
    bars: Progress,
) -> tuple[Run, Artifact, Plan, tuple[StepRecord, ...]]:
    """Everything that can be refused is refused here, before any work: model, plan, data."""
    from edgekit.engine import zoo
    from edgekit.engine.data import check_fits

    name = zoo_name(model)
    if name is not None:
        plan = plan_for(recipe, target, zoo.FORMAT)
        loaded = zoo.open_training_data(name, data, seed=seed)
        run = Run(StepCache(cache_root()), seed, loaded, bars)
        source, record = zoo.train(name, run)
        return run, run.adopt(source), plan, (record,)
    source = open_artifact(Path(model))
    plan = plan_for(recipe, target, source.format)
    _check_first_step(plan, source)
    source, opened = open_for(source, data, seed=seed)
    if opened is not None:
        check_fits(opened, describe(source).signature, source.scaling)
    run = Run(StepCache(cache_root()), seed, opened, bars)
    return run, run.adopt(source), plan, ()


def open_for(
    source: Artifact, data: DataRequest | None, *, seed: int
) -> tuple[Artifact, LoadedData | None]:
    """Opens the data for a model; a scaling among the data options overrides the model's own."""
    from edgekit.engine.data import open_data
    from edgekit.engine.models import with_scaling

    if data is None:
        return source, None
    opened = open_data(
        data.spec,
        options=data.options,
        signature=describe(source).signature,
        seed=seed,
        task=data.task,
    )
    return with_scaling(source, opened.scaling_override), opened


def _check_first_step(plan: Plan, source: Artifact) -> None:
    if plan.steps:
        first = plan.steps[0]
        importlib.import_module(first.module).check(first.parameters, describe(source))


def _reference_plan(plan: Plan) -> Plan:
    """The same way to the target's format without any technique: the float reference."""
    bare = Recipe(plan.recipe.name, "", (), plan.recipe.promise)
    return plan_for(bare, plan.target, plan.source_format)


def _report(
    run: Run,
    plan: Plan,
    source: Artifact,
    records: tuple[StepRecord, ...],
    reference: Artifact,
    result: Artifact,
) -> Report:
    pair = measure_pair(
        on_target(reference, plan.target),
        on_target(result, plan.target),
        data=run.data,
        seed=run.seed,
        bars=run.bars,
    )
    limits = (plan.target.limits, plan.recipe.promise)
    return Report(
        title=f"{source.name} · {plan.recipe.name} · {plan.target.name}",
        source=source,
        recipe=plan.recipe.name,
        target=plan.target.name,
        seed=run.seed,
        edgekit_version=__version__,
        machine=fingerprint(_versions(plan)),
        steps=records,
        reference_artifact=reference,
        reference=pair.reference,
        reference_description=describe(reference),
        result_artifact=result,
        result=pair.result,
        result_description=describe(result),
        data=data_facts(run.data),
        judgement=pair.judgement,
        verdicts=judge(limits, pair.result, pair.judgement, unjudged=why_unjudged(run.data)),
        notes=pair.notes,
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
        versions |= importlib.import_module(step.module).versions()
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
) -> str:
    words = ["edgekit", "compress", model, "--recipe", recipe, "--target", target]
    words += data.words() if data else []
    words += ["--seed", str(seed)] if seed else []
    words += ["--threads", str(threads)] if threads else []
    return shlex.join([*words, "--out", str(out)])


def _write(report: Report, folder: Path) -> None:
    """Copies the result and renders every reporter that writes a file."""
    made = report.result_artifact
    suffix = format_of(made.format).SUFFIXES[0]
    if made.path.is_dir():
        shutil.copytree(made.path, folder / f"model{suffix}")
    else:
        shutil.copyfile(made.path, folder / f"model{suffix}")
    for name in catalog.names("reporters"):
        reporter = catalog.load("reporters", name)
        if reporter.SUFFIX:
            text = reporter.render(report)
            (folder / f"report{reporter.SUFFIX}").write_text(text, encoding="utf-8")

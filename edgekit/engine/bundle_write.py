"""Writes a bundle: the files in it, their names, and the manifest that says what they are."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import edgekit.on_device
from edgekit.core import catalog
from edgekit.core.artifact import Artifact
from edgekit.core.bundle import (
    SCHEMA,
    BundledModel,
    BundledTarget,
    Golden,
    Manifest,
    Metrics,
    Tensor,
    is_safe_name,
)
from edgekit.core.front_end import ClassesOutput, FrontEnd
from edgekit.core.strict_json import plain
from edgekit.core.target import Target
from edgekit.engine.bundle_front_end import TaskFacts, class_scores, front_end_of
from edgekit.engine.bundle_golden import GoldenSet, make_golden, npy
from edgekit.engine.bundle_texts import labels_text, read_labels, readme, requirements
from edgekit.engine.bundle_zip import MOST_BYTES, SUMS, write_zip
from edgekit.engine.files import size_bytes
from edgekit.engine.models import describe, format_of, paths_of
from edgekit.engine.products import products_of
from edgekit.errors import UsageError
from edgekit.frameworks.files import sha256
from edgekit.on_device.c_golden import golden_text
from edgekit.on_device.kernels import FORMAT_OF_C, FORMATS, KERNELS, OPTIONS
from edgekit.on_device.run import driver
from edgekit.text import clean, with_article
from edgekit.version import __version__

if TYPE_CHECKING:
    from edgekit.engine.data import LoadedData

__all__ = ["MANIFEST", "Extras", "drivers_of", "write_bundle"]

MANIFEST = "manifest.json"
_PREPROCESS, _LABELS = "preprocess.json", "labels.txt"
_OWN = (MANIFEST, _PREPROCESS, _LABELS, SUMS, "README.md", "requirements.txt", "run.py")
_ON_DEVICE = Path(edgekit.on_device.__file__).parent
_C_FILES = (".c", ".h", ".md", ".txt", "")


@dataclass(frozen=True)
class Extras:
    """What the user gives besides model and data.

    `labels` and `preprocess` are files of the user's; `golden` is the number of golden samples,
    None for as many as the model computes quickly; `task` is used where the data names none.
    """

    labels: Path | None = None
    preprocess: Path | None = None
    golden: int | None = None
    task: str | None = None
    name: str | None = None


def write_bundle(
    artifact: Artifact,
    target: Target,
    path: Path,
    *,
    data: LoadedData | None = None,
    seed: int = 0,
    extras: Extras | None = None,
    metrics: Metrics | None = None,
) -> Manifest:
    """Writes the bundle of a model for a target to `path`; the same inputs give the same bytes.

    Golden samples are those of the test split of `data`, else seeded random ones.

    Raises:
        UsageError: a format that no device runs, a target that invents its outputs, labels or a
            front end that do not fit, or a model without an answer to be held against.
        UnmeasuredError: a compiler of the target's is not installed here.
    """
    given = extras or Extras()
    _check_target(artifact, target)
    golden = make_golden(artifact, data, count=given.golden, seed=seed)
    signature = describe(artifact).signature
    task = _task(given, data)
    front_end = front_end_of(
        signature,
        artifact.scaling,
        dataset=data.dataset if data is not None else None,
        task=task,
        real=golden.real,
        own=given.preprocess,
    )
    labels = _labels(artifact, front_end, given.labels, data)
    members: dict[str, bytes | Path] = {_PREPROCESS: front_end.to_json(), **_golden_files(golden)}
    model, files = _model_files(artifact)
    if labels:
        members[_LABELS] = labels_text(labels)
    manifest = Manifest(
        schema=SCHEMA,
        name=clean(given.name or artifact.name),
        made_by=f"edgekit {__version__}",
        model=model,
        inputs=tuple(map(Tensor.of, signature.inputs)),
        outputs=tuple(map(Tensor.of, signature.outputs)),
        target=_bundled_target(target),
        boards=target.boards,
        preprocess=_PREPROCESS,
        labels=_LABELS if labels else None,
        golden=_golden_facts(golden),
        metrics=metrics if metrics is not None and metrics.digest == artifact.digest else None,
    )
    runner = KERNELS[artifact.format][0].runner
    versions: Mapping[str, str] = catalog.load("runners", runner).versions()
    own = [f"{name}=={version}" for name, version in versions.items()]
    made = products_of(artifact, target, inputs=golden.inputs, outputs=golden.outputs)
    members |= files
    members |= _device_files(manifest, with_c=not made)
    members |= made
    members |= {
        MANIFEST: manifest.to_json(),
        "README.md": readme(manifest),
        "requirements.txt": requirements(target.boards, own),
    }
    members[SUMS] = _sums(members)
    write_zip(path, members)
    return manifest


def _check_target(artifact: Artifact, target: Target) -> None:
    if artifact.format not in FORMATS:
        raise UsageError(
            f"model '{artifact.path}' is {with_article(artifact.format)} file, and a bundle holds "
            f"{', '.join(FORMATS)}",
            hint=f"edgekit convert {artifact.path} --to {target.format}",
        )
    unreal: str = catalog.load("runners", target.runner).UNREAL
    if unreal:
        raise UsageError(
            f"target '{target.name}': {unreal}, so no device runs it",
            hint="name the target of a device",
        )


def _task(given: Extras, data: LoadedData | None) -> TaskFacts | None:
    if data is not None and data.can_judge:
        return TaskFacts(data.task_name, data.task_argument, data.judged[1])
    if given.task:
        return TaskFacts.parse(given.task)
    return TaskFacts("classification") if given.labels is not None else None


def _labels(
    artifact: Artifact, front_end: FrontEnd, own: Path | None, data: LoadedData | None
) -> tuple[str, ...]:
    if own is None:
        return data.dataset.class_names if data is not None else ()
    count = None
    if isinstance(front_end.output, ClassesOutput):
        try:
            count = class_scores(describe(artifact).signature, front_end.output.index)
        except ValueError as error:
            raise UsageError(f"--labels '{own}': {error}", hint="leave --labels out") from None
    return read_labels(own, count)


def _golden_files(golden: GoldenSet) -> dict[str, bytes]:
    return {
        f"golden/{side}_{position}.npy": npy(array)
        for side, arrays in (("input", golden.inputs), ("output", golden.outputs))
        for position, array in enumerate(arrays)
    }


def _golden_facts(golden: GoldenSet) -> Golden:
    return Golden(
        count=golden.count,
        source=golden.source,
        inputs=tuple(f"golden/input_{i}.npy" for i in range(len(golden.inputs))),
        outputs=tuple(f"golden/output_{i}.npy" for i in range(len(golden.outputs))),
        kernels=golden.kernels,
        made_with=golden.made_with,
        tolerance=golden.tolerance,
    )


def _model_files(artifact: Artifact) -> tuple[BundledModel, dict[str, bytes | Path]]:
    own, *parts = paths_of(artifact)
    name = f"model{format_of(artifact.format).SUFFIXES[0]}"
    names = {part.relative_to(own.parent).as_posix(): part for part in parts}
    for part in names:
        if not is_safe_name(part) or part.split("/")[0] in (*_OWN, name, "golden", "c"):
            raise UsageError(
                f"model '{artifact.path}': its external data is called '{clean(part)}', which is "
                "no name for a file in a bundle",
                hint="export the model with another name for its external data",
            )
    total = sum(map(size_bytes, (own, *parts)))
    if total > MOST_BYTES - 100_000_000:
        raise UsageError(f"model '{artifact.path}': with {total:,} bytes too large for a bundle")
    facts = BundledModel(
        file=name,
        format=artifact.format,
        digest=artifact.digest,
        sha256=sha256(own),
        size_bytes=total,
        parts=tuple(sorted(names)),
    )
    return facts, {name: own, **names}


def _device_files(manifest: Manifest, *, with_c: bool) -> dict[str, bytes | Path]:
    """The runner, and for a model that the C runner can run its sources too.

    `with_c` is false where the target brings sources of its own.
    """
    found: dict[str, bytes | Path] = {"run.py": _ON_DEVICE / "run.py"}
    is_tflite = manifest.model.format == FORMAT_OF_C
    for name in drivers_of(manifest.target, is_tflite=is_tflite):
        found[name] = _ON_DEVICE / name
    if not with_c or not is_tflite:
        return found
    try:
        found["c/golden.txt"] = golden_text(plain(manifest)).encode()
    except ValueError:
        return found
    for file in sorted((_ON_DEVICE / "c").iterdir()):
        if file.is_file() and file.suffix in _C_FILES and file.name[0] != ".":
            found[f"c/{file.name}"] = file
    return found


def drivers_of(target: Target | BundledTarget, *, is_tflite: bool) -> set[str]:
    """The files without which run.py cannot open a model on a target's runtime or accelerator."""
    delegates = [{"library": d.library, "options": d.options} for d in target.delegates]
    ways = {driver(n, is_tflite, d) for n in target.runtimes for d in (*delegates, None)}
    return {f"{way}.py" for way in ways if way}


def _bundled_target(target: Target) -> BundledTarget:
    runner = catalog.load("runners", target.runner)
    modules: tuple[str, ...] = runner.MODULES
    own, usual = dataclasses.asdict(target.options), dataclasses.asdict(runner.Options())
    options = {
        name: value for name, value in own.items() if name in OPTIONS or value != usual[name]
    }
    threads = own.get("threads", 1)
    options.pop("threads", None)
    share = getattr(target.limits.limits, "min_delegated", None)
    return BundledTarget(
        name=clean(target.name),
        machines=target.machines,
        threads=threads,
        # As JSON has it, so that a manifest that is read back is equal to this one.
        options=json.loads(json.dumps(options)),
        runtimes=target.runtimes or modules,
        delegates=target.delegates,
        min_delegated=share,
    )


def _sums(members: Mapping[str, bytes | Path]) -> bytes:
    lines = []
    for name, content in sorted(members.items()):
        digest = (
            hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else sha256(content)
        )
        lines.append(f"{digest}  {name}\n")
    return "".join(lines).encode()

"""Opens --data: reads the dataset, splits it, chooses the task, streams batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core import catalog
from edgekit.core.artifact import InputScaling, Signature, TensorSpec
from edgekit.core.data import Dataset, Pool, SplitName, Task
from edgekit.core.schema import option_fields, parse_options
from edgekit.engine.data_fit import check_fits
from edgekit.engine.data_inputs import (
    input_order,
    judged_first,
    measure_scaling,
    prepare,
    random_inputs,
    release_pages,
)
from edgekit.engine.data_splits import split_indices
from edgekit.engine.data_values import check_values
from edgekit.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.data import Array, Batches

__all__ = [
    "LoadedData",
    "check_fits",
    "measure_scaling",
    "open_data",
    "parse_data_spec",
    "random_inputs",
]

_RELEASE_BYTES = 4_000_000
UNJUDGED = ""
"""The task's name where unlabelled samples can calibrate a model and not judge it."""

_SCALING_KEYS = ("scale", "offset", "low", "high")


@dataclass(frozen=True, eq=False)
class LoadedData:
    """A dataset with its splits and its task.

    `where` is what error texts call it. `classes` is the largest integer label + 1, None for labels
    of another kind. `judged` is the output that the task looks at first: its name and position in
    the model that was given. `scaling_override` is the input scaling that --data-options gave, None
    for the model's own.
    """

    dataset: Dataset
    where: str
    task_name: str
    task_argument: str
    classes: int | None
    scaling_override: InputScaling | None
    seed: int
    judged: tuple[str, int]
    _indices: Mapping[SplitName, NDArray[Any]]

    @property
    def digest(self) -> str:
        """The digest of every value of the data."""
        return self.dataset.digest

    @property
    def task(self) -> str:
        """The task as --task would name it."""
        return self.task_name + (f":{self.task_argument}" if self.task_argument else "")

    @property
    def split_sizes(self) -> dict[SplitName, int]:
        """The number of samples in each split."""
        return {split: len(rows) for split, rows in self._indices.items()}

    @property
    def can_judge(self) -> bool:
        """False for unlabelled samples of a task that needs labels: they only calibrate."""
        return self.task_name != UNJUDGED

    def new_task(self) -> Task:
        """A fresh task that has seen nothing yet."""
        task: Task = catalog.load("tasks", self.task_name).create(
            argument=self.task_argument, class_names=self.dataset.class_names, seed=self.seed
        )
        return task

    def indices(self, split: SplitName) -> NDArray[Any]:
        """The rows of a split in the order of its batches, counted in its own pool."""
        return self._indices[split]

    def batches(
        self, split: SplitName, size: int, signature: Signature | None, scaling: InputScaling
    ) -> Batches:
        """Model-ready real inputs (n, ...) and labels, `size` samples at a time, always in one
        order; nothing but the current batch is held.

        Without a signature (a model yet to be trained) inputs are scaled and keep their shape.

        Raises:
            UsageError: the split is empty, or the model has other inputs than the data.
        """
        indices, pool = self._indices[split], self._pool(split)
        if not len(indices):
            raise UsageError(
                f"{self.where}: has no samples for the {split} split",
                hint="give training data too: the judged samples cannot serve for anything else",
            )
        inputs = self.inputs(pool, signature)
        is_whole = split == "test" and self.dataset.test is not None
        read_bytes = 0
        for start in range(0, len(indices), size):
            rows = slice(start, start + size) if is_whole else indices[start : start + size]
            ready = tuple(prepare(source[rows], spec, scaling) for source, spec in inputs)
            yield ready, None if pool.y is None else _native(pool.y[rows])
            read_bytes += sum(array.nbytes for array in ready)
            if read_bytes > _RELEASE_BYTES:
                read_bytes = 0
                for source, _ in inputs:
                    release_pages(source)

    def _pool(self, split: SplitName) -> Pool:
        own_test = self.dataset.test if split == "test" else None
        return own_test if own_test is not None else self.dataset.train

    def inputs(
        self, pool: Pool, signature: Signature | None
    ) -> list[tuple[Any, TensorSpec | None]]:
        """The rows of each model input, in the model's order, and the input that they feed.

        Raises:
            UsageError: the model has other inputs than the data.
        """
        if signature is None:
            return [(rows, None) for rows in pool.x]
        order = input_order(signature, self.dataset.input_names, len(pool.x), where=self.where)
        return [
            (pool.x[position], spec) for spec, position in zip(signature.inputs, order, strict=True)
        ]


def parse_data_spec(text: str) -> tuple[str, str]:
    """Splits 'KIND:PATH' or 'KIND' into kind and argument.

    Raises:
        UsageError: no such kind; a path that exists gets the kinds that read it.
    """
    kind, _, argument = text.partition(":")
    known = catalog.names("datasets")
    if kind in known:
        return kind, argument
    path = Path(text)
    if text and path.exists():
        reads = [name for name in known if _reads(name, path)]
        hint = " or ".join(f"--data {name}:{text}" for name in reads)
        raise UsageError(
            f"--data '{text}': a path needs its kind in front",
            hint=f"write {hint}" if hint else f"KIND:PATH with one of {', '.join(known)}",
        )
    raise UsageError(f"--data '{text}': unknown kind '{kind}'", hint=did_you_mean(kind, known))


def _reads(name: str, path: Path) -> bool:
    sniff = getattr(catalog.load("datasets", name), "sniff", None)
    return bool(sniff is not None and sniff(path))


def open_data(
    spec: str,
    *,
    options: str = "",
    signature: Signature | None = None,
    seed: int = 0,
    task: str | None = None,
    output: str | None = None,
) -> LoadedData:
    """Reads `spec`, checks its values, splits it, and chooses the task that suits the model.

    `options` is 'key=value,key=value': scale, offset, low and high are the input scaling, the rest
    belongs to the kind of data. `output` names the output to judge. Without a `signature` the task
    is chosen by the labels alone.

    Raises:
        UsageError: the data cannot be read, holds NaN or infinity (counted), has too few samples,
            or no task suits it.
    """
    where = f"--data '{spec}'"
    kind, argument = parse_data_spec(spec)
    module = catalog.load("datasets", kind)
    own_options, scaling = _options(module.Options, options)
    try:
        judged = _judged(output, signature)
        ordered = judged_first(signature, judged[1])
        dataset: Dataset = module.load(argument, own_options, ordered)
        classes = check_values(dataset, where)
    except OSError as error:
        raise UsageError(f"{where}: {error.filename}: {error.strerror or error}") from None
    except MemoryError:
        raise UsageError(f"{where}: does not fit into memory") from None
    name, task_argument = _task(task, dataset, ordered, where)
    return LoadedData(
        dataset=dataset,
        where=where,
        task_name=name,
        task_argument=task_argument,
        classes=classes,
        scaling_override=scaling,
        seed=seed,
        judged=judged,
        _indices=split_indices(dataset, seed, where=where),
    )


def _judged(output: str | None, signature: Signature | None) -> tuple[str, int]:
    """The name and position of the output to judge; the first one where none is named."""
    if output is None or signature is None:
        return "", 0
    names = [spec.name for spec in signature.outputs]
    if output not in names:
        raise UsageError(
            f"--output '{output}': the model has no such output", hint=did_you_mean(output, names)
        )
    return output, names.index(output)


def _options(cls: Any, text: str) -> tuple[Any, InputScaling | None]:
    """Parts --data-options between the input scaling and the options of the dataset's own class."""
    where = "--data-options"
    own, scaling = option_fields(cls), option_fields(InputScaling)
    both = {**own, **{key: scaling[key] for key in _SCALING_KEYS}}
    merged = dataclasses.make_dataclass(
        "DataOptions", [(key, kind | None, None) for key, kind in both.items()], frozen=True
    )
    parsed: Any = parse_options(merged, text, where=where)
    given = {key: getattr(parsed, key) for key in both if getattr(parsed, key) is not None}
    try:
        options = cls(**{key: value for key, value in given.items() if key in own})
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    chosen = {key: given[key] for key in _SCALING_KEYS if key in given and key not in own}
    own_scaling: InputScaling | None = getattr(options, "scaling", None)
    if chosen and own_scaling is not None:
        raise UsageError(
            f"{where}: mean and std say the same as scale and offset", hint="give one of the two"
        )
    return options, _scaling(chosen, where) if chosen else own_scaling


def _scaling(given: Mapping[str, Any], where: str) -> InputScaling:
    scaling = InputScaling(**given)
    if not scaling.scale or not scaling.offset or 0.0 in scaling.scale:
        raise UsageError(f"{where}: scale must not be 0 or empty, not {list(scaling.scale)}")
    low, high = scaling.low, scaling.high
    if (low is None) != (high is None) or (low is not None and high is not None and low >= high):
        raise UsageError(f"{where}: low and high go together, low below high; not {low} and {high}")
    return scaling


def _task(
    wanted: str | None, dataset: Dataset, signature: Signature | None, where: str
) -> tuple[str, str]:
    """The task that was named, else the one that suits the signature and the judged labels."""
    import numpy as np

    if wanted is not None:
        name, _, argument = wanted.partition(":")
        if name not in catalog.names("tasks"):
            hint = did_you_mean(name, catalog.names("tasks"))
            raise UsageError(f"--task '{wanted}': unknown task '{name}'", hint=hint)
        _create_once(name, argument, dataset)
        return name, argument
    labels = (dataset.test or dataset.train).y
    dtype = None if labels is None else str(np.dtype(labels.dtype))
    ndim = 0 if labels is None else len(labels.shape)
    shapes = signature or _unknown_model(dataset)
    suited = [
        name
        for name in catalog.names("tasks")
        if catalog.load("tasks", name).suits(shapes, dtype, ndim)
    ]
    if len(suited) == 1:
        return suited[0], ""
    if dtype is None and signature is not None:
        return UNJUDGED, ""
    what = f"{dtype} labels with {ndim} axes" if dtype else "no labels"
    many = f"several tasks suit it: {', '.join(suited)}" if suited else "no task suits it"
    outputs = "" if signature is None else f" for outputs {_outputs(signature)}"
    raise UsageError(
        f"{where}: has {what}{outputs}, and {many}",
        hint=f"name one with --task: {', '.join(catalog.names('tasks'))}",
    )


def _create_once(name: str, argument: str, dataset: Dataset) -> None:
    """A wrong argument of a task is found before any work."""
    catalog.load("tasks", name).create(argument=argument, class_names=dataset.class_names, seed=0)


def _outputs(signature: Signature) -> str:
    return ", ".join(f"'{spec.name}' {spec.shape}" for spec in signature.outputs)


def _unknown_model(dataset: Dataset) -> Signature:
    """A model that is not trained yet: the data's own inputs, one output of unknown length."""
    inputs = tuple(
        TensorSpec(f"x{i}", (None, *rows.shape[1:]), "float32")
        for i, rows in enumerate(dataset.train.x)
    )
    return Signature(inputs, (TensorSpec("y", (None, None), "float32"),))


def _native(labels: Any) -> Array:
    """Labels in the machine's byte order."""
    import numpy as np

    array = np.asarray(labels)
    return array.astype(array.dtype.newbyteorder("="), copy=False)

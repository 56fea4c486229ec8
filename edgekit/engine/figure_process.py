"""Starting the processes that find what `bench` says besides time: counts, arena, energy."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.child import ChildError, run_child
from edgekit.engine.bench_process import BenchModel, WorkerError, model_table, save_inputs

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["ask_figure"]

_WORKER = "edgekit.engine.figure_worker"
_LIMIT_SECONDS = 600.0


def ask_figure(
    job: str,
    model: BenchModel,
    *,
    inputs: tuple[Array, ...],
    folder: Path | None = None,
    **request: Any,
) -> dict[str, Any]:
    """Starts a process that opens a model and does one job; returns its answer.

    What the process reads is in `folder`, else in one that is gone afterwards.

    Raises:
        WorkerError: it crashed, took too long, or could not do it; says which.
    """
    kept = contextlib.nullcontext(folder)
    with kept if folder else tempfile.TemporaryDirectory(prefix="edgekit-bench-") as place:
        files = save_inputs(model, inputs, Path(str(place)) / "model")
        table = {"job": job, **model_table(model, files), **request}
        try:
            said = run_child(_WORKER, table, limit_seconds=_LIMIT_SECONDS)
        except ChildError as error:
            raise WorkerError(f"the process that measures {error}") from None
    answer: dict[str, Any] = json.loads(said or '{"error": "the process gave no answer"}')
    if "error" in answer:
        raise WorkerError(answer["error"])
    return answer

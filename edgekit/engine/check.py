"""The gate: builds each row, measures it, and holds it against its limits and its baseline."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekit.core.baseline import Baseline, NewerSchemaError
from edgekit.core.checks import load_checks, select
from edgekit.core.gate import CheckRow, Finding, GateResult, RowResult
from edgekit.core.project import PROJECT_FILE
from edgekit.engine.check_accept import accept_row
from edgekit.engine.check_baseline import FOLDER, open_old, read_baseline
from edgekit.engine.check_findings import limit_findings
from edgekit.engine.check_history import append, history_line, load_history
from edgekit.engine.check_lock import STATE, turn_in
from edgekit.engine.check_outputs import write_outputs
from edgekit.engine.check_regressions import Against, New, against_baseline
from edgekit.engine.check_row import Candidate, Found, check_names, prepare_row, with_data_scaling
from edgekit.engine.machine import fingerprint
from edgekit.engine.progress import Progress, silent
from edgekit.engine.targets import elsewhere
from edgekit.errors import EdgekitError, PromiseError, UnmeasuredError, UsageError
from edgekit.version import __version__

__all__ = ["check"]

Say = Callable[[str], None]


@dataclass
class _Job:
    """A row on its way: `ended` is why it goes no further."""

    row: CheckRow
    baseline: Baseline | None
    accept: bool
    notes: list[str] = field(default_factory=list)
    candidate: Candidate | None = None
    ended: RowResult | None = None
    found: Found | None = None
    ratio: float | None = None
    seconds: float = 0.0


def check(
    names: Sequence[str] = (),
    *,
    accept: bool = False,
    folder: Path = Path(),
    out: Path | None = None,
    bars: Progress = silent,
    say: Say = lambda _text: None,
) -> GateResult:
    """Checks the rows of these names (all where none is named) of the project in `folder`.

    With `accept` the rows' baselines are written anew instead of held against. `out` is where the
    outputs go (`.edgekit/` beside the project's file by default), `say` where waiting is told.
    Broken limits and regressions are in the result, not an exception.

    Raises:
        UsageError: a row, a baseline, a model or its data is wrong; nothing was written.
    """
    where = None if out is None else out.absolute()
    with _in_folder(folder):
        rows = select(load_checks(), tuple(names))
        if accept and not names:
            raise UsageError("--accept: names no row", hint="edgekit check --accept NAME ...")
        jobs = [_job(row, accept) for row in rows]
        with turn_in(Path(), say=say) as state:
            return _run(jobs, state, where or Path(STATE), bars)


def _run(jobs: list[_Job], state: Path, out: Path, bars: Progress) -> GateResult:
    """All rows are prepared before one is built, and all are built before one is measured.

    So a mistake in the last row is found before the first one has taken an hour.
    """
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for stage in (_prepare, _build):
        for job in jobs:
            with _step_of(job):
                stage(job, bars)
    history, repaired = load_history(state)
    results = []
    for job in jobs:
        with _step_of(job):
            _measure(job, bars)
        results.append(_finished(job, history.get(job.row.name, ())))
    result = GateResult(
        rows=tuple(results),
        project_file=PROJECT_FILE,
        edgekit_version=__version__,
        started_utc=started,
        machine=fingerprint(),
        notes=(repaired,) if repaired else (),
    )
    return _written(result, jobs, state, out)


def _written(result: GateResult, jobs: list[_Job], state: Path, out: Path) -> GateResult:
    """Everything is written at the end, when nothing can be wrong with the request any more."""
    rows = []
    for job, row in zip(jobs, result.rows, strict=True):
        if job.accept and job.found is not None and row.status != "unmeasured":
            told = accept_row(job.row, job.baseline, job.found, utc=result.started_utc)
            row = dataclasses.replace(row, notes=(*row.notes, *told))
        rows.append(row)
    result = dataclasses.replace(result, rows=tuple(rows))
    append(
        state,
        (
            history_line(
                row,
                utc=result.started_utc,
                machine=job.found.machine if job.found else result.machine,
                baseline_ratio=job.ratio,
            )
            for job, row in zip(jobs, result.rows, strict=True)
        ),
    )
    write_outputs(result, out)
    return result


@contextlib.contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    """What a project's file names lies relative to it."""
    if not folder.is_dir():
        raise UsageError(f"--project '{folder}': no such folder")
    with contextlib.chdir(folder):
        yield


def _job(row: CheckRow, accept: bool) -> _Job:
    """Everything that is wrong in the text of a row, or in its baseline, is found here."""
    try:
        check_names(row)
    except UsageError as error:
        raise _of(row, error) from None
    try:
        return _Job(row, read_baseline(row.name), accept)
    except NewerSchemaError:
        raise
    except UsageError as error:
        if not accept:
            raise
        return _Job(row, None, accept, [f"the damaged baseline is replaced: {error.message}"])


@contextlib.contextmanager
def _step_of(job: _Job) -> Iterator[None]:
    """Adds up a row's time, and turns its errors into how the row or the run ends."""
    started = time.perf_counter()
    try:
        yield
    except UsageError as error:
        raise _of(job.row, error) from None
    except UnmeasuredError as error:
        job.ended = RowResult(job.row, error=error.message, hint=error.hint)
    except PromiseError as error:
        job.ended = RowResult(job.row, (_broken_promise(job.row, error),), hint=error.hint)
    finally:
        job.seconds += time.perf_counter() - started


def _of(row: CheckRow, error: EdgekitError) -> UsageError:
    said = error.message
    return UsageError(f"{row.where}: {said.removeprefix(f'{row.where}: ')}", hint=error.hint)


def _broken_promise(row: CheckRow, error: PromiseError) -> Finding:
    """A step that did not do what it declares fails the row, as it fails `compress`."""
    return Finding(
        metric="broken_promises",
        kind="limit",
        status="fail",
        unit="count",
        value=1,
        bound=0,
        source=f"{row.where}: recipe",
        reason=error.message,
    )


def _prepare(job: _Job, bars: Progress) -> None:
    try:
        job.candidate = prepare_row(job.row, bars)
    except UnmeasuredError as error:
        if job.row.required:
            raise
        job.ended = RowResult(job.row, skipped=error.message, hint=error.hint)


def _build(job: _Job, _bars: Progress) -> None:
    if job.ended is None and job.candidate is not None:
        job.candidate.build()


def _measure(job: _Job, bars: Progress) -> None:
    if job.ended is not None or job.candidate is None:
        return
    found = job.found = job.candidate.measure()
    judged = _against(job, found, bars)
    job.ratio = judged.ratio
    baseline = (
        None if job.baseline is None else (job.baseline, str(FOLDER / f"{job.row.name}.json"))
    )
    judgement = found.report.judgement if found.report else None
    limits = limit_findings(
        found.verdicts, found.measured, judgement, machine=found.machine, baseline=baseline
    )
    job.ended = RowResult(
        job.row,
        (*limits, *judged.findings),
        report=found.report,
        measured=found.measured,
        notes=(*job.notes, *found.notes, *judged.notes),
    )


def _against(job: _Job, found: Found, bars: Progress) -> Against:
    if job.accept:
        return Against(())
    if job.baseline is None:
        name = job.row.name
        return Against((), (f"no baseline: edgekit check --accept {name} makes one",))
    old = open_old(job.baseline, found.subject)
    if old.subject is not None:
        artifact = with_data_scaling(old.subject.artifact, found.data)
        old = dataclasses.replace(old, subject=dataclasses.replace(old.subject, artifact=artifact))
    new = New(
        subject=found.subject,
        measured=found.measured,
        data=found.data,
        unjudged=found.unjudged,
        elsewhere=elsewhere(found.target),
        seed=job.row.seed,
        bars=bars,
    )
    return against_baseline(job.row, new, old)


def _finished(job: _Job, history: tuple[Mapping[str, Any], ...]) -> RowResult:
    assert job.ended is not None, job.row.name
    return dataclasses.replace(job.ended, seconds=job.seconds, history=history)

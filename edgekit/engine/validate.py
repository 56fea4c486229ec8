"""Judges a model file on a target: alone, or against a reference model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.artifact import Artifact
from edgekit.core.data import Score
from edgekit.core.limits import Verdict, worst
from edgekit.core.notes import Note
from edgekit.core.report import DataFacts, Report
from edgekit.core.target import Target
from edgekit.engine.compare import Side, compare
from edgekit.engine.compress import DataRequest, data_facts, open_for
from edgekit.engine.delegation import NO_DELEGATION, Delegation
from edgekit.engine.fallbacks import (
    check_strictly,
    delegated,
    fallback_notes,
    placed_on,
    share_verdicts,
)
from edgekit.engine.measure import (
    judged_output,
    on_target,
    score_one,
    unreal_reason,
)
from edgekit.engine.models import format_of
from edgekit.engine.open_model import open_model
from edgekit.engine.progress import Progress, silent
from edgekit.engine.targets import (
    device_of,
    elsewhere_notes,
    target_for,
)
from edgekit.errors import UnmeasuredError, UsageError

__all__ = ["Validation", "compare_models", "model_in", "validate"]


@dataclass(frozen=True)
class Validation:
    """The score of one model, the data that it was judged on, and what a reader must know.

    `verdicts` are those on what ran where, which does not need a reference.
    """

    score: Score
    data: DataFacts
    notes: tuple[Note, ...]
    verdicts: tuple[Verdict, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 within limits, 1 where too few ops are delegated, 3 where nobody knows."""
        return {"pass": 0, "fail": 1, "unmeasured": 3}[worst(self.verdicts)]


def validate(
    model: str,
    *,
    data: DataRequest,
    target: str | None = None,
    seed: int = 0,
    inputs: Sequence[str] = (),
    threads: int | None = None,
    on: str | None = None,
    delegation: Delegation = NO_DELEGATION,
    bars: Progress = silent,
) -> Validation:
    """Scores the file `model` on the test split of `data`, on a target's runtime.

    Raises:
        UsageError: the model does not run on the target, or the data does not fit it.
    """
    artifact = open_model(model, inputs)
    device = delegated(target_for(artifact, target, threads=threads, on=on), delegation)
    check_strictly(artifact, device)
    artifact, opened = open_for(artifact, data, seed=seed)
    assert opened is not None, "data was given"
    subject = on_target(artifact, device)
    if unreal_reason(subject):
        raise UnmeasuredError(f"target '{device.name}': {unreal_reason(subject)}")
    if not opened.can_judge:
        raise UnmeasuredError(
            f"{opened.where}: has no labels to judge by",
            hint="store the labels beside the samples",
        )
    facts = data_facts(opened)
    assert facts is not None, "data was given"
    score = score_one(subject, data=opened, bars=bars)
    fell, verdicts = _fallbacks(artifact, device)
    notes = (*elsewhere_notes(device), *fell, *judged_output(subject, opened))
    return Validation(score, facts, notes, verdicts)


def _fallbacks(artifact: Artifact, device: Target) -> tuple[tuple[Note, ...], tuple[Verdict, ...]]:
    """What did not run where it was to run; in this process there is no choice."""
    if device_of(device) is None:
        return (), ()
    placed = placed_on(artifact, device)
    return fallback_notes(device, placed), share_verdicts(device, placed)


def compare_models(
    model: str,
    reference: str,
    *,
    data: DataRequest | None,
    target: str | None = None,
    seed: int = 0,
    inputs: Sequence[str] = (),
    threads: int | None = None,
    on: str | None = None,
    delegation: Delegation = NO_DELEGATION,
    bars: Progress = silent,
    words: Sequence[str] = (),
) -> Report:
    """Judges `model` against `reference` on the same samples, interleaved in time.

    A reference of another format runs on that format's natural runner. `words` are the command and
    its models as the user wrote them, where that was not `validate`.

    Raises:
        UsageError: a model does not run on the target, or the data does not fit one of them.
    """
    return compare(
        Side(reference, target, threads, delegation),
        Side(model),
        data=data,
        seed=seed,
        inputs=inputs,
        on=on,
        bars=bars,
        words=words or ("validate", model, "--reference", reference),
        is_reference=True,
    )


def model_in(path: str) -> str:
    """The model in a folder that `compress` wrote; any other path as it is.

    Raises:
        UsageError: the folder has a report whose model is not there.
    """
    report = Path(path) / "report.json"
    if not report.is_file():
        return path
    try:
        name = json.loads(report.read_text(encoding="utf-8"))["result"]["format"]
        model = Path(path) / f"model{format_of(str(name)).SUFFIXES[0]}"
    except (ValueError, KeyError, TypeError, OSError):
        raise UsageError(f"{report}: is no report of edgekit's", hint="name the model") from None
    if not model.exists():
        raise UsageError(f"{path}: its {model.name} is missing", hint="compress it again")
    return str(model)

"""Which ops stay on the CPU of an accelerator, why, and what to change."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgekit.cli import inspect
from edgekit.core.description import Op
from edgekit.core.device import Delegate
from edgekit.core.limits import Limits, SourcedLimits
from edgekit.core.runner import Attempt, OpPlacement, Placement
from edgekit.core.target import Target, load_target
from edgekit.engine import fit
from edgekit.engine.fit_stays import QUANTIZE, stays
from edgekit.engine.models import open_artifact
from edgekit.errors import UnmeasuredError

LIMITS = SourcedLimits(Limits(min_delegated=1.0), "npu.toml")


def npu(**more: object) -> Target:
    known = {"name": "npu", "limits": LIMITS, "delegates": (Delegate("NPU"),), **more}
    return dataclasses.replace(load_target("cpu-litert"), **known)  # type: ignore[arg-type]


def ops(*kinds: str, dtype: str = "float32") -> list[Op]:
    return [Op(index, kind, kind, (dtype, dtype)) for index, kind in enumerate(kinds)]


def at(*rows: tuple[str, str, str]) -> Placement:
    return Placement(tuple(OpPlacement(i, k, w, "int8", r) for i, (k, w, r) in enumerate(rows)))


def test_by_the_rules_where_nothing_was_executed() -> None:
    rules = {0: ("works on float32", QUANTIZE), 2: ("works on float32", QUANTIZE)}
    (found,) = stays(ops("CONV_2D", "ADD", "CONV_2D"), rules, Placement((), "not here"), npu())
    assert (found.kinds, found.dtype, found.count) == ((("CONV_2D", 2),), "float32", 2)
    assert (found.reason, found.advice, found.measured) == ("works on float32", QUANTIZE, False)


def test_a_rule_speaks_where_the_runtime_is_silent() -> None:
    rules = {1: ("is not among the ops of npu-1", "replace the op")}
    placed = at(
        ("CONV_2D", "NPU", ""),
        ("SOFTMAX", "CPU", "no delegate took it (the runtime gives no reason)"),
        ("MEAN", "CPU", "no delegate took it (the runtime gives no reason)"),
        ("SOFTMAX", "CPU", ""),
    )
    ruled, silent = sorted(
        stays(ops("CONV_2D", "SOFTMAX", "MEAN"), rules, placed, npu()), key=lambda s: -s.count
    )
    assert (ruled.kinds, ruled.advice) == ((("SOFTMAX", 2),), "replace the op")
    assert silent.reason == "no delegate took it, and the runtime gives no reason"
    assert silent.advice.endswith("a lower min_delegated (npu.toml) accepts it")
    assert silent.measured


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("the tensor has a dynamic shape", "fix the shapes"),
        ("IFM must be int8, and is float", QUANTIZE),
        ("int16 activations", "quantize the activations to int8"),
        ("the second input is not constant", "make that input a constant"),
        ("the moon is full", "replace the op by one that it takes"),
    ],
)
def test_what_the_runtime_says_has_its_advice(reason: str, advice: str) -> None:
    (found,) = stays([], {}, at(("ADD", "CPU", reason)), npu())
    assert (found.reason, found.advice[: len(advice)]) == (reason, advice)


def test_a_reason_may_bring_its_advice_along() -> None:
    rules = {0: ("works on float32", QUANTIZE)}
    placed = at(("ADD", "CPU", "an axis of 9: too long: change it so that it fits: 8 at most"))
    (found,) = stays(ops("ADD"), rules, placed, npu())
    assert found.reason == "an axis of 9: too long"
    assert found.advice == "change it so that it fits: 8 at most"


def test_a_plain_cpu_has_nothing_that_stays() -> None:
    target = npu(delegates=(), limits=SourcedLimits(Limits(), ""))
    assert stays(ops("ADD"), {0: ("odd", "change it")}, Placement(()), target) == ()


def test_sixty_ops_read_in_a_few_lines() -> None:
    rows = [("CONV_2D", "NPU", "")] * 30 + [("MEAN", "CPU", "float only")] * 10
    rows += [("ADD", "CPU", "float only")] * 15 + [("SOFTMAX", "CPU", "the moon is full")] * 5
    placed = at(*rows)
    held = fit.Fit("npu", (), placed, stays=stays([], {}, placed, npu()), ops=60)
    text = inspect._fit(held)
    assert text == [
        "on npu",
        "  on the CPU  30 of 60 ops, as the runtime says",
        "              15 ADD, 10 MEAN (int8): float only",
        f"              what to change: {QUANTIZE}",
        "              5 SOFTMAX (int8): the moon is full",
        "              what to change: replace the op by one that it takes; a lower "
        "min_delegated (npu.toml) accepts it",
        "  placement   NPU 30, CPU 30",
    ]


class FakeSession:
    """An open model that says where its ops run."""

    def __init__(self, placed: Placement) -> None:
        self.placed = placed

    def placement(self) -> Placement:
        return self.placed

    def close(self) -> None:
        """Nothing is held."""


def test_what_fell_back_is_said_and_strict_refuses_it(
    monkeypatch: pytest.MonkeyPatch, tiny_float: Path
) -> None:
    tried = (Attempt("NPU", ok=False, reason="no device"), Attempt("litert", ok=True))
    placed = dataclasses.replace(at(("CONV_2D", "CPU", "")), attempts=tried)
    monkeypatch.setattr(fit, "open_session", lambda subject: FakeSession(placed))
    found = fit.fit(open_artifact(tiny_float), npu())
    assert [(note.item, note.reason) for note in found.notes] == [("NPU", "no device")]
    assert inspect._fit(found)[1:5] == [
        "  fell back   NPU: no device",
        "  on the CPU  1 of 1 ops, as the runtime says",
        "              1 CONV_2D (int8): nothing that was to take them opened the model",
        "              what to change: see above why what was tried fell back",
    ]
    assert found.runs
    strict = fit.fit(open_artifact(tiny_float), npu(strict=True))
    assert strict.problem == "--strict: NPU fails: no device"
    assert not strict.runs


def test_where_it_does_not_open_the_rules_speak(
    monkeypatch: pytest.MonkeyPatch, tiny_float: Path
) -> None:
    def away(subject: object) -> object:
        raise UnmeasuredError("no adapter", hint="buy one")

    monkeypatch.setattr(fit, "open_session", away)
    found = fit.fit(open_artifact(tiny_float), npu(dtypes=("int8",)))
    assert found.problem == "no adapter (buy one)"
    assert sum(stay.count for stay in found.stays) == found.ops == 6
    text = "\n".join(inspect._fit(found))
    assert "on the CPU  6 of 6 ops, by the rules of the target's file" in text
    assert text.count("works on float32; the target takes int8") == 1
    assert "cannot run  no adapter (buy one)" in text

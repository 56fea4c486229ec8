"""A real external delegate: what it takes, that its integers are right, and how it fails."""

from __future__ import annotations

import dataclasses
import functools
import json
import platform
from contextlib import closing
from pathlib import Path
from typing import Any

import delegates
import jsonschema
import numpy as np
import pytest
from support import Outcome, edgekit

from edgekit.core.device import Delegate
from edgekit.core.target import load_target
from edgekit.engine import measure
from edgekit.engine.measure import on_target, open_session
from edgekit.engine.models import open_artifact

pytestmark = pytest.mark.skipif(bool(delegates.NO_GCC), reason=delegates.NO_GCC)

SILENT = "no delegate took it (the runtime gives no reason)"
LEFT = f"3 CONV_2D, 1 RESHAPE, 1 FULLY_CONNECTED, 1 SOFTMAX: {SILENT}"
DATA = ("--data", "digits", "--data-options", "scale=0.0625")
INT8 = delegates.MODELS["int8"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return delegates.build(tmp_path_factory.mktemp("delegate"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency of a fifth of a second: what it is does not matter here."""
    short = functools.partial(measure.compare_latency, seconds=0.2)
    monkeypatch.setattr(measure, "compare_latency", short)


def inspected(library: object, *words: str) -> dict[str, Any]:
    on = ("--target", "delegate", "--delegate", library)
    found = edgekit("inspect", INT8, *on, *words, "--json")
    assert found.out, found.err
    fit: dict[str, Any] = json.loads(found.out)["fit"]
    return {**fit, "code": found.code}


@pytest.mark.parametrize("kernels", ["builtin", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_its_outputs_are_those_of_the_kernels_that_it_replaces(
    library: Path, tmp_path: Path, dtype: str, kernels: str
) -> None:
    log = tmp_path / "log.json"
    target = load_target("cpu-litert", overrides={"kernels": kernels})
    delegate = Delegate(str(library), {"log": str(log)})
    artifact, rng = open_artifact(delegates.MODELS[dtype]), np.random.default_rng(0)
    x: Any = rng.random((32, 8, 8, 1), dtype=np.float32)
    if dtype == "int8":
        x = rng.integers(-128, 128, x.shape, np.int8)
    outputs, places = [], []
    for tried in ((), (delegate,)):
        subject = on_target(artifact, dataclasses.replace(target, delegates=tried))
        with closing(open_session(subject)) as session:
            outputs.append(session.run((x,))[0])
            places.append([op.kind for op in session.placement().ops if op.where == library.name])
    np.testing.assert_array_equal(outputs[1], outputs[0])
    assert sorted(places[1]) == ["ADD", "ADD", "ADD", "MUL", "MUL"]
    assert places[0] == []


def test_what_it_takes_and_what_stays_is_said(library: Path) -> None:
    found = inspected(library)
    (stay,) = found["stays"]
    assert (found["code"], found["ops"]) == (0, delegates.OPS)
    assert dict(stay["kinds"]) == {
        "CONV_2D": 3, "RESHAPE": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1,
    }  # fmt: skip
    assert stay["reason"] == "no delegate took it, and the runtime gives no reason"
    assert "a lower min_delegated (targets/delegate.toml)" in stay["advice"]
    assert found["notes"] == []
    where = [op["where"] for op in found["placement"]["ops"]]
    assert where.count(library.name) == delegates.TAKEN
    fewer = inspected(f"{library}:max_nodes=2")
    assert [op["where"] for op in fewer["placement"]["ops"]].count(library.name) == 2
    strict = inspected(library, "--strict")
    assert strict["code"] == 1
    assert strict["problem"].startswith("--strict: 5 of 11 ops are delegated")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("bogus=1", "ek_delegate: unknown option bogus"),
        ("fail=create", "ek_delegate: asked to fail at create"),
        ("fail=prepare", "ek_delegate: asked to fail at prepare"),
        ("max_nodes=0", "it takes none of the model's ops"),
    ],
)
def test_one_that_fails_is_named_with_its_own_words(library: Path, option: str, said: str) -> None:
    found = inspected(f"{library}:{option}")
    (note,) = found["notes"]
    assert (note["what"], note["item"]) == ("fell back", library.name)
    assert said in note["reason"]
    (stay,) = found["stays"]
    assert stay["kinds"][0] == ["CONV_2D", 3]
    assert stay["reason"] == "nothing that was to take them opened the model"
    strict = inspected(f"{library}:{option}", "--strict")
    assert strict["code"] == 1
    assert strict["problem"].startswith(f"--strict: {library.name} fails: ")
    assert said in strict["problem"]


def test_validate_alone_breaks_the_promise_with_a_note(library: Path) -> None:
    words = ("validate", INT8, *DATA, "--target", "delegate", "--delegate")
    found = edgekit(*words, f"{library}:fail=create")
    assert found.code == 1
    assert "FAIL        min_delegated: 0, limit 1 (targets/delegate.toml)" in found.out
    assert f"note: fell back {library.name}: Failed to load delegate" in found.out
    assert "note: on the CPU 11 of 11 ops: nothing that was to take them opened" in found.out
    strict = edgekit(*words, f"{library}:fail=create", "--strict")
    assert (strict.code, strict.out) == (1, "")
    assert f"error: --strict: target 'delegate': {library.name} fails: " in strict.err


def said(found: Outcome) -> str:
    return found.out + found.err


def test_one_that_fails_at_invoke_never_answers_from_the_cpu_unsaid(library: Path) -> None:
    failing = f"{library}:fail=invoke"
    words = ("validate", INT8, *DATA, "--delegate", failing, "--target", "delegate")
    found = edgekit(*words)
    assert found.code in (1, 2, 3)
    assert "ek_delegate: asked to fail at invoke" in said(found)
    strict = edgekit(*words[:-1], "cpu-litert", "--strict")
    assert (strict.code, strict.out) == (1, "")
    assert "ek_delegate: asked to fail at invoke" in strict.err


@pytest.mark.usefixtures("quick")
def test_a_report_has_every_attempt(library: Path, tmp_path: Path, repository: Path) -> None:
    out, bad = tmp_path / "out", f"{library}:fail=prepare"
    words = ("compress", delegates.MODELS["float32"], "--recipe", "float32", "--out", out)
    tried = ("--target", "delegate", "--delegate", bad, "--delegate", library)
    found = edgekit(*words, *tried)
    assert found.code == 1
    assert "note: fell back" in found.out
    assert f"note: on the CPU 6 of 11 ops: {LEFT}" in found.out
    report = json.loads((out / "report.json").read_text())
    jsonschema.validate(report, json.loads((repository / "docs/report.schema.json").read_text()))
    notes = {(note["what"], note["item"]) for note in report["skipped"]}
    assert {("fell back", library.name), ("on the CPU", "6 of 11 ops")} <= notes
    assert report["command"].endswith(f"--delegate {bad} --delegate {library} --out {out}")
    (broken,) = (v for v in report["verdicts"] if v["metric"] == "min_delegated")
    assert broken["status"] == "fail"
    assert "asked to fail at prepare" in broken["reason"]
    for name in ("report.md", "report.html"):
        assert "asked to fail at prepare" in (out / name).read_text()


@pytest.mark.usefixtures("quick")
def test_a_delegate_against_the_cpu_is_timed_side_by_side(library: Path) -> None:
    words = ("compare", INT8, INT8, "--target", "cpu-litert", "--delegate-b", library, "--json")
    found = edgekit(*words)
    assert found.code == 0, found
    report = json.loads(found.out)
    assert report["result"]["latency"]["ratio_to_reference"] > 0
    assert "libek.so" in {op["where"] for op in report["result"]["placement"]["ops"]}
    assert "libek.so" not in {op["where"] for op in report["reference"]["placement"]["ops"]}
    assert f"--delegate-b {library}" in report["command"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the other machine is x86-64 here")
def test_one_of_another_machine_is_not_loaded(library: Path, tmp_path: Path) -> None:
    other = delegates.elf_of(library, 183, tmp_path / "libarm.so")
    found = edgekit("bench", INT8, "--target", "delegate", "--delegate", other)
    assert (found.code, found.out) == (2, "")
    assert f"'{other}': is built for aarch64, and this machine is x86_64" in found.err


def test_a_row_of_the_gate_says_why_it_fails(library: Path, tmp_path: Path) -> None:
    (tmp_path / "npu.toml").write_text(
        'summary = "x"\ninherit = "delegate"\n[[delegate]]\n'
        f'library = "{library}"\noptions = {{ fail = "create" }}\n'
    )
    (tmp_path / "edgekit.toml").write_text(
        f'[[check]]\nname = "sums"\nmodel = "{INT8}"\ntarget = "npu.toml"\n'
    )
    found = edgekit("check", "--project", tmp_path, "--json")
    assert found.code == 1
    assert "asked to fail at create" in found.out

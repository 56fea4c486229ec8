"""The plug-in for pytest, in test runs of its own; the gate itself is stood in for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgekit.core.checks import load_checks
from edgekit.core.gate import Finding, GateResult, RowResult
from edgekit.engine import check as gate
from edgekit.errors import UsageError

pytest_plugins = ["pytester"]

PROJECT = """
[[check]]
name = "good"
model = "kws.keras"
target = "cpu-litert"
max_size = "60 kB"

[[check]]
name = "large"
model = "kws.keras"
target = "cpu-litert"
max_size = "60 kB"

[[check]]
name = "away"
model = "kws.keras"
target = "cpu-litert"
required = false

[[check]]
name = "unknown"
model = "kws.keras"
target = "cpu-litert"
"""

Run = Callable[..., pytest.RunResult]


def size(value: int, status: str) -> Finding:
    source = "edgekit.toml: check 'large': max_size"
    return Finding("max_size", "limit", status, "bytes", value, 60_000, source)  # type: ignore[arg-type]


def fake_check(names: Sequence[str] = (), *, folder: Path = Path(), **_: object) -> GateResult:
    """Ends as the name of the row says."""
    (name,) = names
    rows = {row.name: row for row in load_checks(folder)}
    if name not in rows:
        raise UsageError(f"NAME '{name}': no [[check]] has that name", hint="known: good")
    row = rows[name]
    ended = {
        "good": RowResult(row, (size(58_000, "pass"),)),
        "large": RowResult(row, (size(61_200, "fail"), size(58_000, "pass"))),
        "away": RowResult(row, skipped="adb: no device is connected"),
        "unknown": RowResult(row, error="the model cannot be run", hint="plug it in"),
    }
    return GateResult((ended[name],), "edgekit.toml", "0.1.0", "", {})


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pytest with our plug-in alone, whether it is installed or not."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr(gate, "check", fake_check)
    pytester.makefile(".toml", edgekit=PROJECT)

    def go(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-p", "edgekit.pytest_plugin", *arguments)

    return go


def test_every_row_is_a_test(run: Run) -> None:
    ended = run("--edgekit", "-v", "-rs")
    ended.assert_outcomes(passed=1, failed=2, skipped=1)
    ended.stdout.fnmatch_lines(
        [
            "edgekit.toml::good PASSED*",
            "*edgekit check large*",
            "large: size: 61.2 kB, limit 60 kB, 1.20 kB over; to accept it, edit edgekit.toml*",
            "unknown: the model cannot be run (hint: plug it in)",
            "*away: adb: no device is connected*",
        ]
    )
    assert "Traceback" not in ended.stdout.str()
    assert "During handling" not in ended.stdout.str()


def test_rows_are_found_where_tests_lie_elsewhere(run: Run, pytester: pytest.Pytester) -> None:
    (pytester.mkdir("tests") / "test_own.py").write_text("def test_own():\n    pass\n")
    pytester.makeini("[pytest]\ntestpaths = tests\n")
    run("--edgekit").assert_outcomes(passed=2, failed=2, skipped=1)
    run("--edgekit", "tests/test_own.py").assert_outcomes(passed=2, failed=2, skipped=1)
    run("--edgekit", "tests", "edgekit.toml").assert_outcomes(passed=2, failed=2, skipped=1)


def test_one_row_can_be_asked_for(run: Run) -> None:
    run("--edgekit", "-k", "good").assert_outcomes(passed=1, deselected=3)


def test_without_the_option_the_file_is_left_alone(run: Run) -> None:
    ended = run("-v")
    ended.assert_outcomes()
    assert ended.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_wrong_file_is_a_sentence(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makefile(".toml", edgekit=PROJECT.replace("max_size", "max_sise"))
    ended = run("--edgekit")
    ended.assert_outcomes(errors=1)
    ended.stdout.fnmatch_lines(["*edgekit.toml: check 'good': unknown key 'max_sise'", "hint: *"])
    assert "Traceback" not in ended.stdout.str()


def test_no_file_adds_nothing(run: Run, pytester: pytest.Pytester) -> None:
    (pytester.path / "edgekit.toml").unlink()
    run("--edgekit").assert_outcomes()


def test_junit_of_pytest_has_the_values(run: Run, pytester: pytest.Pytester) -> None:
    run("--edgekit", "-k", "good", "--junit-xml=out.xml")
    assert '<property name="max_size" value="58000"' in (pytester.path / "out.xml").read_text()


@pytest.mark.parametrize(
    ("name", "outcome", "said"),
    [
        ("good", "passed", ""),
        ("large", "failed", "large: size: 61.2 kB, limit 60 kB, 1.20 kB over;*"),
        ("away", "skipped", ""),
        ("unknown", "failed", "unknown: the model cannot be run (hint: plug it in)"),
        ("no", "failed", "NAME 'no': no * has that name"),
    ],
)
def test_the_fixture_ends_as_the_row(
    run: Run, pytester: pytest.Pytester, name: str, outcome: str, said: str
) -> None:
    pytester.makepyfile(
        f"""
        def test_gate(edgekit_check):
            result = edgekit_check({name!r})
            assert result.findings[0].value == 58_000
        """
    )
    ended = run()
    ended.assert_outcomes(**{outcome: 1})
    ended.stdout.fnmatch_lines([said] if said else [])


def test_the_fixture_takes_the_nearest_file(run: Run, pytester: pytest.Pytester) -> None:
    inner = pytester.mkdir("inner")
    (inner / "edgekit.toml").write_text(PROJECT.replace('"good"', '"near"'))
    (inner / "test_near.py").write_text("def test_it(edgekit_check):\n    edgekit_check('good')\n")
    ended = run("inner")
    ended.assert_outcomes(failed=1)
    ended.stdout.fnmatch_lines(["NAME 'good': *"])
    (inner / "edgekit.toml").unlink()
    run("inner").assert_outcomes(passed=1)


def test_loading_it_imports_nothing_of_the_engine() -> None:
    """What pytest's every start pays for: our own name, and nothing heavy."""
    probe = (
        "import pytest, sys; before = set(sys.modules); import edgekit.pytest_plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["edgekit", "edgekit.pytest_plugin", "edgekit.version"]

"""What Vela leaves is believed only where it fits; fake programs leave all that does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from vela_fakes import ALL, REFUSED, RELU_TANH, SOME, SUMMARY, chain, fake, model

from edgekit.devices._vela_compile import compile_model
from edgekit.errors import UnmeasuredError, UsageError

__all__ = ["model"]


def error(model: Path, folder: Path, **how: Any) -> UnmeasuredError:
    with pytest.raises(UnmeasuredError) as caught:
        compile_model(model, fake(folder, **how))
    assert caught.value.hint
    assert not list(cached("*/edgekit.json")), "what failed is not kept"
    assert not list(cached("*/model*")), "nothing is left over"
    return caught.value


def cached(pattern: str) -> list[Path]:
    return list((Path(os.environ["EDGEKIT_CACHE"]) / "vela").glob(pattern))


def test_a_compiled_model_is_kept(model: Path, tmp_path: Path) -> None:
    compiler = fake(tmp_path / "fake", made=SOME, cpu_rows=1, log=REFUSED)
    first, second = (compile_model(model, compiler) for _ in range(2))
    assert first.delegates
    assert first == second
    assert first.model.read_bytes() == SOME
    assert [refusal.kind for refusal in first.refusals] == ["TANH"]
    assert first.summary.cycles == 896
    runs = (tmp_path / "fake" / "runs").read_text().splitlines()
    expected = "model.tflite --output-dir . --verbose-performance --accelerator-config ethos"
    assert len(runs) == 1
    assert runs[0].startswith(expected)
    assert not cached("*/model.tflite"), "the model itself is not kept twice"


def test_a_damaged_result_is_made_anew(model: Path, tmp_path: Path) -> None:
    compiler = fake(tmp_path / "fake")
    made = compile_model(model, compiler).model
    made.write_bytes(SOME)
    assert compile_model(model, compiler).model.read_bytes() == ALL
    made.with_name("edgekit.json").write_text("{")
    compile_model(model, compiler)
    assert len((tmp_path / "fake" / "runs").read_text().splitlines()) == 3


def test_nothing_delegated_is_seen_in_the_file(model: Path, tmp_path: Path) -> None:
    compiler = fake(tmp_path / "fake", made=RELU_TANH, cpu_rows=2)
    assert not compile_model(model, compiler).delegates


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"made": None}, "Vela 9.9 left no file, whatever its exit code says"),
        ({"made": b""}, "Vela 9.9 left an empty file, whatever its exit code says"),
        ({"made": b"TFL3"}, "Vela 9.9 left a file that is no model: it is "),
        ({"made": chain(("ethos-u", "y"), shape=(1, 5))}, "left a model with other inputs"),
        ({"cpu_rows": 1}, "contradicts itself: its table has 1 ops on the CPU, and its file 0"),
        ({"log": "Error: out of luck"}, "Vela 9.9 does not compile it: out of luck"),
        ({"then": "sys.exit(7)"}, "Vela 9.9 ended with exit code 7 on this model"),
        ({"then": "os.kill(os.getpid(), 11)"}, "Vela 9.9 crashed with SIGSEGV on this model"),
        ({"then": "time.sleep(60)", "limit_seconds": 0.5}, "Vela 9.9 did not end within 0.5 s"),
        ({"then": "Path('model_per-layer.csv').unlink()"}, "model_per-layer.csv cannot be read"),
        ({"then": "Path('model_summary_Fake.csv').unlink()"}, "Vela 9.9 left 0 summaries"),
        ({"summary": {**SUMMARY, "nn_macs": "?"}}, "has '?' as nn_macs"),
    ],
)
def test_what_does_not_fit_is_refused(
    model: Path, tmp_path: Path, how: dict[str, Any], said: str
) -> None:
    assert said in error(model, tmp_path / "fake", **how).message


def test_a_program_that_does_not_start(model: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    missing = replace(fake(tmp_path / "fake"), command=(str(tmp_path / "none"),))
    with pytest.raises(UnmeasuredError, match=r"Vela 9\.9 does not start: '.*none' is no program"):
        compile_model(model, missing)


def test_a_model_that_is_none_starts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "text.tflite"
    path.write_text("text")
    with pytest.raises(UsageError, match="TFLite|tflite"):
        compile_model(path, fake(tmp_path / "fake"))
    assert not (tmp_path / "fake" / "runs").exists()


def test_a_cache_that_cannot_be_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("EDGEKIT_CACHE", str(file))
    with pytest.raises(UnmeasuredError, match="EDGEKIT_CACHE '.*file': what vela makes cannot"):
        compile_model(model, fake(tmp_path / "fake"))


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_compiler_ends_with_who_started_it(model: Path, tmp_path: Path) -> None:
    fake(tmp_path / "fake", then="(here / 'pid').write_text(str(os.getpid()))\ntime.sleep(60)")
    program = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from vela_fakes import Compiler, compile_model
compile_model(Path({str(model)!r}), Compiler(
    (sys.executable, "-I", {str(tmp_path / "fake" / "fake.py")!r}), ("--accelerator-config",), "9"
))
"""
    parent = subprocess.Popen([sys.executable, "-B", "-c", program])
    found = wait_for(tmp_path / "fake" / "pid")
    parent.kill()
    parent.wait()
    assert ended(found)


def wait_for(file: Path) -> int:
    for _ in range(600):
        if file.is_file() and file.read_text():
            return int(file.read_text())
        time.sleep(0.05)
    raise AssertionError("it did not start")


def ended(process: int) -> bool:
    for _ in range(100):
        try:
            os.kill(process, 0)
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    return False

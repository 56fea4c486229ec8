"""The built wheel works in an empty environment, from any folder, without TensorFlow."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def run(*arguments: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.mark.slow
@pytest.mark.download
def test_the_wheel_in_an_empty_environment(
    tmp_path: Path, repository: Path, tiny_float: Path
) -> None:
    wheels, venv, away = tmp_path / "wheels", tmp_path / "venv", tmp_path / "away"
    away.mkdir()
    run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation"),
        *("--outdir", wheels, repository),
        cwd=tmp_path,
    )
    (wheel,) = wheels.glob("edgekit_ml-*.whl")
    # The locked versions, without the hashes, which pip does not take in a constraints file.
    pins = re.findall(r"^([\w.-]+==[^\\\n]+)", (repository / "requirements.lock").read_text(), re.M)
    (tmp_path / "constraints.txt").write_text("\n".join(pins))
    run(sys.executable, "-m", "venv", venv, cwd=tmp_path)
    run(venv / "bin/pip", "install", "-q", wheel, "-c", tmp_path / "constraints.txt", cwd=away)
    edgekit = venv / "bin/edgekit"

    listed = json.loads(run(edgekit, "list", "--json", cwd=away).stdout)
    assert "int8" in listed["recipes"]
    assert "cpu-litert" in listed["targets"]
    doctor = json.loads(run(edgekit, "doctor", "--json", cwd=away).stdout)
    assert {found["name"]: found["problem"] for found in doctor["targets"]}["cpu-litert"] == ""
    assert any("edgekit-ml[tensorflow]" in found["problem"] for found in doctor["extras"])

    np.savez(away / "d.npz", x=np.zeros((64, 8, 8, 1), np.float32), y=np.arange(64) % 10)
    arguments = ("--recipe", "dynamic-int8", "--target", "cpu-litert", "--data", "npz:d.npz")
    run(edgekit, "compress", tiny_float, *arguments, "--out", "out", cwd=away)
    assert (away / "out/report.html").is_file()
    refused = run(
        *(edgekit, "compress", "zoo:digits-cnn", *arguments[:4], "--data", "digits"),
        *("--out", "zoo"),
        cwd=away,
        code=2,
    )
    assert "pip install 'edgekit-ml[tensorflow]'" in refused.stderr
    assert sorted(path.name for path in away.iterdir()) == ["d.npz", "out"]

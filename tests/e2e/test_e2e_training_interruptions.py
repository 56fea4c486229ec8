"""Trainings inside a recipe that are killed, stopped, repeated, or that lose their numbers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import edgekit

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

# A test run in the background of a script is told to ignore Ctrl-C, and so are its children.
HEAR_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
COMMAND = (
    *(sys.executable, "-c", f"{HEAR_CTRL_C}; from edgekit.__main__ import main; main()"),
    "compress",
)
LONG = 'name = "prune"\nsparsity = 0.5\nepochs = 60\nbatch_size = 32\n'
ALL = (
    'name = "prune-channels"\nratio = 0.3\nimportance = "taylor"\nepochs = 1\nrounds = 1\n',
    'name = "fine-tune"\naugment = ["mixup"]\nepochs = 1\n',
    'name = "distill"\nwidth = 0.75\nbaseline = false\nepochs = 1\n',
    'name = "prune"\nsparsity = 0.8\nallocation = "sensitivity"\nepochs = 2\n',
    'name = "cluster"\nclusters = 8\nepochs = 1\n',
    'name = "quantize-aware-train"\nper_channel = false\nepochs = 1\n',
)
# The second epoch's loss is no number, whatever is drawn: TensorFlow compiles `loss` once.
TURNS_NAN = """
import tensorflow as tf

broken = tf.Variable(0.0, trainable=False)


class Break:
    def on_epoch_begin(self, epoch):
        broken.assign(float("nan") if epoch == 1 else 0.0)


def callbacks():
    return [Break()]


def loss(y_true, y_pred):
    return tf.keras.losses.sparse_categorical_crossentropy(y_true, y_pred) + broken
"""


def report_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "report.json").read_text())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """A Keras file that was trained on the digits."""
    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(shared_cache))
        outcome = edgekit(
            *("compress", "zoo:digits-cnn", "--recipe", "float32", "--target", "null"),
            *("--data", "digits", "--out", folder / "out"),
        )
    assert outcome.code == 0, outcome
    made = report_of(folder / "out")["model"]["digest"]
    for path in shared_cache.glob("steps/*/model.keras"):
        if json.loads((path.parent / "step.json").read_text())["digest"] == made:
            (folder / "digits.keras").write_bytes(path.read_bytes())
    return folder / "digits.keras"


def write(folder: Path, *steps: str) -> Path:
    text = 'summary = "x"\n' + "".join(f"[[technique]]\n{step}\n" for step in steps)
    (folder / "r.toml").write_text(text)
    return folder / "r.toml"


def options(model: Path, recipe: Path, out: Path) -> tuple[object, ...]:
    return (
        *(model, "--recipe", recipe, "--target", "null", "--data", "digits"),
        *("--out", out),
    )


def start(cache: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, "EDGEKIT_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epochs(cache: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for history in cache.glob("training/*/*/history.json"):
            if len(json.loads(history.read_text())["epochs"]) >= count:
                return
        time.sleep(0.02)
    raise AssertionError("the training did not get that far")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_killed_pruning_goes_on_and_ends_as_if_never_killed(
    tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C first, then a kill that no program can answer; the digest is that of a whole run."""
    cache, work, recipe = tmp_path / "cache", tmp_path / "work", write(tmp_path, LONG)
    work.mkdir()
    for number, (end, code) in enumerate(((signal.SIGINT, 130), (signal.SIGKILL, -9)), 1):
        process = start(cache, *options(digits, recipe, work / "out"))
        wait_for_epochs(cache, 5 * number)
        process.send_signal(end)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert "Traceback" not in err
        if end == signal.SIGINT:
            assert err.splitlines()[-1] == "error: interrupted; nothing half-written was left"
            assert names(work) == []
            assert names(cache / "scratch") == []
    assert not (work / "out").exists()
    monkeypatch.setenv("EDGEKIT_CACHE", str(cache))
    assert edgekit("compress", *options(digits, recipe, work / "resumed")).code == 0
    report = report_of(work / "resumed")
    (note,) = (note for note in report["evidence"] if note["what"] == "resumed")
    after = int(re.fullmatch(r"prune: after epoch (\d+)", note["item"])[1])
    assert 10 <= after < 60
    assert not [path for path in (cache / "training").rglob("*") if path.suffix == ".npz"]
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "fresh"))
    assert edgekit("compress", *options(digits, recipe, work / "whole")).code == 0
    whole = report_of(work / "whole")
    assert report["result"]["digest"] == whole["result"]["digest"]
    assert "resumed" not in {note["what"] for note in whole["evidence"]}
    curves = [figures(item) for item in (report, whole)]
    assert curves[0] == curves[1]


def figures(report: dict[str, Any]) -> list[tuple[float, float]]:
    (step,) = (step for step in report["steps"] if step["technique"] == "prune")
    return [(epoch["loss"], epoch["select_loss"]) for epoch in step["curves"][0]["epochs"]]


def test_a_step_that_was_finished_is_not_done_again(
    tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second step is killed: the first one is taken from the cache."""
    cache = tmp_path / "cache"
    recipe = write(tmp_path, 'name = "prune"\nepochs = 1\n', 'name = "fine-tune"\nepochs = 80\n')
    process = start(cache, *options(digits, recipe, tmp_path / "out"))
    deadline = time.monotonic() + 120
    while not list(cache.glob("training/*/fine-tune/history.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)
    monkeypatch.setenv("EDGEKIT_CACHE", str(cache))
    assert edgekit("compress", *options(digits, recipe, tmp_path / "out")).code == 0
    report = report_of(tmp_path / "out")
    cached = {step["technique"]: step["cached"] for step in report["steps"]}
    assert cached["prune"] is True
    assert cached["fine-tune"] is False
    assert "resumed" in {note["what"] for note in report["evidence"]}


def test_the_same_seed_gives_the_same_bits(
    tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each technique, in two processes and two caches; another seed gives another model."""
    recipe = write(tmp_path, *ALL)
    process = start(tmp_path / "one", *options(digits, recipe, tmp_path / "out1"))
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "two"))
    outcome = edgekit("compress", *options(digits, recipe, tmp_path / "out2"))
    _, err = process.communicate(timeout=240)
    assert (process.returncode, err) == (0, "")
    assert outcome.code == 0, outcome
    reports = [report_of(tmp_path / name) for name in ("out1", "out2")]
    steps = [[(s["technique"], s["digest"]) for s in report["steps"]] for report in reports]
    assert steps[0] == steps[1]
    assert not any(step["cached"] for report in reports for step in report["steps"])
    files = [(tmp_path / name / "model.tflite").read_bytes() for name in ("out1", "out2")]
    assert files[0] == files[1]
    recipe = write(tmp_path, *ALL[:1])
    outcome = edgekit("compress", *options(digits, recipe, tmp_path / "out3"), "--seed", 1)
    assert outcome.code == 0, outcome
    (other,) = (
        step["digest"]
        for step in report_of(tmp_path / "out3")["steps"]
        if step["technique"] == "prune-channels"
    )
    assert other != dict(steps[0])["prune-channels"]


def test_a_zoo_model_has_the_same_digest_in_each_process(
    tmp_path: Path, digits: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step's digest is part of the keys and reports after it: it must not name the process."""
    zoo = ("--recipe", "float32", "--target", "null", "--data", "digits")
    process = start(tmp_path / "one", "zoo:digits-cnn", *zoo, "--out", tmp_path / "out1")
    _, err = process.communicate(timeout=240)
    assert (process.returncode, err) == (0, "")
    monkeypatch.setenv("EDGEKIT_CACHE", str(shared_cache))
    assert edgekit("compress", "zoo:digits-cnn", *zoo, "--out", tmp_path / "out2").code == 0
    steps = [
        [(step["technique"], step["digest"]) for step in report_of(tmp_path / name)["steps"]]
        for name in ("out1", "out2")
    ]
    assert steps[0] == steps[1]


def test_a_loss_that_is_no_number_stops_at_once(
    tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is named, and the weights of the last good epoch are where it says."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    own = tmp_path / "own.py"
    own.write_text(TURNS_NAN)
    recipe = write(tmp_path, f'name = "fine-tune"\nepochs = 5\nhooks = "python:{own}"\n')
    outcome = edgekit("compress", *options(digits, recipe, tmp_path / "out"))
    assert outcome.code == 1, outcome
    assert not (tmp_path / "out").exists()
    first, hint = outcome.err.splitlines()
    assert hint.startswith("hint: ")
    found = re.fullmatch(
        r"error: .*fine-tune.*: the loss is nan at epoch 2, step 1; "
        r"the weights after epoch 1 are kept in (.+)",
        first,
    )
    assert found, first
    kept = Path(found[1])
    assert kept.exists(), "what the message names is there"
    saved = [kept] if kept.is_file() else sorted(kept.glob("*.npz"))
    assert saved
    for path in saved:
        values = finite_values(path)
        assert len(values) >= 8, "kernels and biases of four layers"
    curve = json.loads(
        (kept if kept.is_dir() else kept.parent).joinpath("history.json").read_text()
    )
    assert len(curve["epochs"]) == 1


def finite_values(path: Path) -> list[Any]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            values = [arrays[name] for name in arrays.files]
    else:
        import keras

        values = keras.saving.load_model(path, compile=False).get_weights()
    assert all(np.isfinite(value).all() for value in values)
    return values


@pytest.mark.parametrize("technique", ["fine-tune", "prune", "quantize-aware-train"])
def test_a_learning_rate_that_is_far_too_high(technique: str, tmp_path: Path, digits: Path) -> None:
    recipe = write(
        tmp_path,
        f'name = "{technique}"\nepochs = 2\nlearning_rate = 1e30\noptimizer = "sgd"\n',
    )
    outcome = edgekit("compress", *options(digits, recipe, tmp_path / "out"))
    assert outcome.code == 1, outcome
    assert not (tmp_path / "out").exists()
    first, hint = outcome.err.splitlines()
    assert re.match(rf"error: .*{technique}.*: the loss is (nan|inf) at epoch 1, ", first), first
    assert "no epoch was finished" in first
    assert "lower learning rate" in hint

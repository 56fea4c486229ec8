"""The user's own functions from a file and in Python, weights of classes, 16 bits, two workers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import edgekit

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

ALL = """
import numpy as np
import tensorflow as tf

SEEN = "{folder}/seen.txt"


def say(word):
    with open(SEEN, "a") as file:
        print(word, file=file)


def loss(y_true, y_pred):
    say("loss")
    return 3.0 * tf.keras.losses.sparse_categorical_crossentropy(y_true, y_pred)


def optimizer(keras, learning_rate):
    say("optimizer of " + keras.__name__)
    return keras.optimizers.RMSprop(learning_rate)


def confidence(y_true, y_pred):
    return tf.reduce_max(y_pred, axis=-1)


def metrics():
    return {{"confidence": confidence, "ones": lambda y_true, y_pred: tf.ones(tf.shape(y_true))}}


def augment(x, y, rng):
    assert x.shape[1:] == (8, 8, 1) and y.shape == x.shape[:1]
    say("augment")
    return x * rng.uniform(0.9, 1.1, (len(x), 1, 1, 1)).astype(np.float32), y


class Watch:
    def set_model(self, model):
        self.model = model

    def on_epoch_end(self, epoch):
        say(f"epoch {{epoch}} step {{int(self.model.optimizer.iterations)}}")


def callbacks():
    return [Watch()]


def train_epoch(model, batches, step):
    losses = [step(x, y) for x, y in batches]
    say(f"loop of {{len(losses)}}")
    return sum(losses) / len(losses)
"""


def report_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "report.json").read_text())


def step_of(out: Path, technique: str) -> dict[str, Any]:
    (step,) = (step for step in report_of(out)["steps"] if step["technique"] == technique)
    return step


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


def compress(folder: Path, model: Path, recipe: Path, *, out: str = "out", code: int = 0) -> str:
    outcome = edgekit(
        *("compress", model, "--recipe", recipe, "--target", "null", "--data", "digits"),
        *("--out", folder / out),
    )
    assert outcome.code == code, outcome
    return outcome.err


def test_every_hook_of_a_file(tmp_path: Path, digits: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(ALL.format(folder=tmp_path))
    recipe = write(tmp_path, f'name = "fine-tune"\nepochs = 2\nhooks = "python:{own}"')
    compress(tmp_path, digits, recipe)
    seen = (tmp_path / "seen.txt").read_text().splitlines()
    steps = 1077 // 64
    assert seen.count(f"loop of {steps}") == 2
    assert seen.count("augment") == 2 * steps
    assert "loss" in seen
    assert "optimizer of keras" in seen
    assert [line for line in seen if line.startswith("epoch")] == [
        "epoch 0 step 16", "epoch 1 step 32",
    ]  # fmt: skip
    step = step_of(tmp_path / "out", "fine-tune")
    assert step["params"]["hooks"].endswith("own.py")
    assert str(tmp_path) not in json.dumps(step)
    (curve,) = step["curves"]
    for epoch in curve["epochs"]:
        assert epoch["others"]["ones"] == 1.0
        assert 0.9 < epoch["others"]["confidence"] <= 1.0
        assert epoch["loss"] > 0
        assert epoch["select_metric"] > 0.95
    assert "confidence" in (tmp_path / "out/report.html").read_text()


def test_hooks_where_the_engine_is_tf_keras(tmp_path: Path, digits: Path) -> None:
    """In prune and in quantize-aware-train, one after the other."""
    own = tmp_path / "own.py"
    own.write_text(ALL.format(folder=tmp_path))
    hooks = f'epochs = 1\nhooks = "python:{own}"'
    recipe = write(tmp_path, f'name = "prune"\n{hooks}', f'name = "quantize-aware-train"\n{hooks}')
    compress(tmp_path, digits, recipe)
    seen = (tmp_path / "seen.txt").read_text().splitlines()
    assert seen.count("loop of 16") == 2
    assert any(line.startswith("optimizer of ") and "tf_keras" in line for line in seen)
    for technique in ("prune", "quantize-aware-train"):
        (curve,) = step_of(tmp_path / "out", technique)["curves"]
        assert curve["epochs"][0]["others"]["ones"] == 1.0


def test_a_changed_hooks_file_is_another_training(tmp_path: Path, digits: Path) -> None:
    own, cached, found = tmp_path / "own.py", [], set()
    recipe = write(tmp_path, f'name = "fine-tune"\nepochs = 1\nhooks = "python:{own}"')
    for factor, out in ((1.0, "first"), (1.0, "same"), (-1.0, "other")):
        own.write_text(f"def augment(x, y, rng):\n    return {factor} * x, y\n")
        compress(tmp_path, digits, recipe, out=out)
        cached.append(step_of(tmp_path / out, "fine-tune")["cached"])
        found.add(step_of(tmp_path / out, "fine-tune")["digest"])
    assert cached == [False, True, False]
    assert len(found) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("def loss(y_true, y_pred):\n    return 1 / 0\n", "own.py, line 2: ZeroDivisionError"),
        ("def augment(x, y, rng):\n    return x\n", "'augment' must return (x, y)"),
        ("def augment(x, y, rng):\n    return x[1:], y\n", "'augment' returned shapes"),
        ("def train_epoch(model, batches, step):\n    pass\n", "'train_epoch' took no step"),
        ("def optimizer(keras, learning_rate):\n    return 3\n", "optimizer"),
        ("def metrics():\n    return {'m': lambda a, b: a.gone}\n", "own.py, line 2: Attribute"),
    ],
)
def test_a_hook_that_fails_while_it_trains(
    content: str, said: str, tmp_path: Path, digits: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text(content)
    recipe = write(tmp_path, f'name = "fine-tune"\nepochs = 1\nhooks = "python:{own}"')
    err = compress(tmp_path, digits, recipe, code=2)
    assert err.startswith("error: ")
    assert said in err
    assert len(err.splitlines()) <= 2
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_hooks_in_python(tmp_path: Path, digits: Path) -> None:
    import tensorflow as tf

    import edgekit as package

    calls: list[str] = []

    def loss(y_true: Any, y_pred: Any) -> Any:
        calls.append("loss")
        return tf.keras.losses.sparse_categorical_crossentropy(y_true, y_pred)

    def train_epoch(model: Any, batches: Any, step: Any) -> None:
        calls.append("epoch")
        for x, y in batches:
            step(x, y)

    hooks = {
        "loss": loss,
        "train_epoch": train_epoch,
        "metrics": {"zeros": lambda y_true, y_pred: tf.zeros(tf.shape(y_true))},
    }
    steps = 'name = "prune"\nepochs = 1', 'name = "fine-tune"\nepochs = 2'
    report = package.compress(
        digits,
        recipe=str(write(tmp_path, *steps)),
        target="null",
        data="digits",
        out=tmp_path / "out",
        hooks=hooks,
    )
    assert report.exit_code == 0
    assert calls.count("epoch") == 3
    assert "loss" in calls
    for technique in ("prune", "fine-tune"):
        (curve,) = step_of(tmp_path / "out", technique)["curves"]
        assert all(epoch["others"] == {"zeros": 0.0} for epoch in curve["epochs"])


def test_balanced_classes_and_sixteen_bits(tmp_path: Path, digits: Path) -> None:
    recipe = write(
        tmp_path,
        'name = "fine-tune"\nepochs = 1\nclass_weights = "balanced"\nlabel_smoothing = 0.1\n'
        'augment = ["crop", "noise", "mixup"]',
        'name = "prune-channels"\nratio = 0.3\nrounds = 1\nepochs = 1\n'
        'precision = "mixed-bfloat16"\nround_to = 2',
        'name = "fine-tune"\nepochs = 2\nprecision = "mixed-bfloat16"\noptimizer = "adamw"\n'
        'schedule = "linear"\npatience = 1',
    )
    compress(tmp_path, digits, recipe)
    report = report_of(tmp_path / "out")
    steps = [step for step in report["steps"] if step["kind"] == "technique"]
    assert [step["params"]["precision"] for step in steps] == [
        "float32", "mixed-bfloat16", "mixed-bfloat16",
    ]  # fmt: skip
    # 16 bits are for the computations of a training: what it leaves is float32.
    assert {weight["dtype"] for weight in report["result"]["weights"]} <= {"float32", "int32"}
    for step in steps:
        assert step["curves"][-1]["epochs"][-1]["select_metric"] > 0.9
    # Under mixup no answer is right or wrong.
    assert steps[0]["curves"][0]["epochs"][0]["metric"] is None


def test_class_weights_change_what_is_learned(tmp_path: Path, digits: Path) -> None:
    digests = set()
    for out, weights in (("none", "[]"), ("one", str([9.0] + [1.0] * 9))):
        recipe = write(tmp_path, f'name = "fine-tune"\nepochs = 1\nclass_weights = {weights}')
        compress(tmp_path, digits, recipe, out=out)
        digests.add(step_of(tmp_path / out, "fine-tune")["digest"])
    assert len(digests) == 2


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def together(folder: Path, command: Sequence[object]) -> list[dict[str, Any]]:
    """Starts the same command once for each of two workers, each with its own cache and output."""
    words = list(map(str, command))
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    running = []
    try:
        for index in range(2):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {
                **os.environ,
                "TF_CONFIG": json.dumps(task),
                "EDGEKIT_CACHE": str(folder / f"cache{index}"),
                "CUDA_VISIBLE_DEVICES": "-1",
            }
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "edgekit", *words, "--out", f"{folder}/out{index}"],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        said = [process.communicate(timeout=240)[1] for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    for process, err in zip(running, said, strict=True):
        assert (process.returncode, err) == (0, ""), err[-3000:]
    return [report_of(folder / f"out{index}") for index in range(2)]


def test_two_workers_end_with_the_same_model(tmp_path: Path, digits: Path) -> None:
    recipe = write(tmp_path, 'name = "fine-tune"\nepochs = 2\nstrategy = "multi-worker"')
    reports = together(
        tmp_path,
        ("compress", digits, "--recipe", recipe, "--target", "null", "--data", "digits"),
    )
    assert reports[0]["result"]["digest"] == reports[1]["result"]["digest"]
    steps = [step_of(tmp_path / f"out{index}", "fine-tune") for index in range(2)]
    assert steps[0]["digest"] == steps[1]["digest"]
    losses = [[e["select_loss"] for e in step["curves"][0]["epochs"]] for step in steps]
    assert losses[0] == losses[1]
    assert steps[0]["digest"] != reports[0]["model"]["digest"]


def test_two_workers_prune_in_tf_keras_as_well(tmp_path: Path, digits: Path) -> None:
    recipe = write(
        tmp_path, 'name = "prune"\nsparsity = 0.5\nepochs = 2\nstrategy = "multi-worker"'
    )
    reports = together(
        tmp_path,
        ("compress", digits, "--recipe", recipe, "--target", "null", "--data", "digits"),
    )
    assert reports[0]["result"]["digest"] == reports[1]["result"]["digest"]

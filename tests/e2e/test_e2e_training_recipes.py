"""Every shipped recipe that trains, from the command line; what it says is looked up in its file.

The file is read by the stock interpreter, not by edgekit's own reader.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from fake_work import run as run_file
from support import edgekit

from edgekit.core.recipe import Recipe, load_recipe, toml_names

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

WEIGHTED = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1}
"""Ops with a kernel, and which of their inputs it is."""
LEAST_TREATED = 64
"""`min_weights` of prune and cluster."""
MOST_DROP = 0.05
"""A bound against a broken model, not a promise: 13,706 parameters leave a student of a quarter of
them little, and 450 test samples tell drops under 2 points from none at best. That the report's own
verdict says what its figures say is checked beside."""


def training_recipes() -> list[str]:
    """Found from the files, so that no new recipe is forgotten."""
    return [name for name in toml_names("recipes") if trains(load_recipe(name))]


def trains(recipe: Recipe) -> bool:
    return any("train" in step.parameters.needs for step in recipe.steps)


@dataclass(frozen=True)
class Opened:
    """A .tflite as the stock interpreter sees it: kernels by op, and the types of all values."""

    kernels: tuple[Any, ...]
    dtypes: frozenset[str]

    @property
    def treated(self) -> list[Any]:
        return [kernel for kernel in self.kernels if kernel.size >= LEAST_TREATED]

    @property
    def zero_share(self) -> float:
        zeros = sum(int((kernel == 0).sum()) for kernel in self.treated)
        return zeros / sum(kernel.size for kernel in self.treated)

    @property
    def most_values(self) -> int:
        return max(len(np.unique(kernel)) for kernel in self.treated)


def opened(path: Path) -> Opened:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    tensors = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    kernels, dtypes = [], set()
    for op in interpreter._get_ops_details():
        touched = [index for index in (*op["inputs"], *op["outputs"]) if index >= 0]
        dtypes |= {np.dtype(tensors[index]["dtype"]).name for index in touched}
        if op["op_name"] in WEIGHTED:
            index = op["inputs"][WEIGHTED[op["op_name"]]]
            assert not np.any(tensors[index]["quantization_parameters"]["zero_points"])
            kernels.append(interpreter.get_tensor(index))
    assert kernels
    return Opened(tuple(kernels), frozenset(dtypes))


def check_zeros(step: dict[str, Any], report: dict[str, Any], model: Opened) -> None:
    """Rounding to integers adds zeros and takes none away."""
    assert model.zero_share >= step["params"]["sparsity"] - 0.005
    reported = [n for n in report["evidence"] if n["what"] == "proven sparsity"]
    assert reported


def check_clusters(step: dict[str, Any], report: dict[str, Any], model: Opened) -> None:
    assert model.most_values <= step["params"]["clusters"]


def check_integers(step: dict[str, Any], report: dict[str, Any], model: Opened) -> None:
    assert model.dtypes <= {"int8", "int32"}
    assert {op["dtype"] for op in report["result"]["placement"]["ops"]} == {"int8"}
    assert report["result"]["inputs"][0]["dtype"] == report["result"]["outputs"][0]["dtype"]
    assert report["result"]["inputs"][0]["dtype"] == "int8"


def check_student(step: dict[str, Any], report: dict[str, Any], model: Opened) -> None:
    assert report["result"]["parameters"] <= report["reference"]["parameters"] / 4
    titles = [curve["title"] for curve in step["curves"]]
    assert titles[0] == "distill"
    assert len(titles) == 1 + step["params"]["baseline"]
    said = {note["what"] for note in step["notes"]}
    assert said & {"beats the same student trained alone", "not better than alone"}


def check_channels(step: dict[str, Any], report: dict[str, Any], model: Opened) -> None:
    of = step["params"]["of"]
    figure = "macs" if of == "channels" else of
    before, after = (report[role][figure] for role in ("reference", "result"))
    taken_back = any(note["what"].startswith("taken back") for note in step["notes"])
    assert after < before
    if of != "channels" and not taken_back:
        assert after <= (1 - step["params"]["ratio"]) * before
        assert len(step["curves"]) == step["params"]["rounds"]


CHECKS = {
    "prune": check_zeros,
    "cluster": check_clusters,
    "quantize": check_integers,
    "quantize-aware-train": check_integers,
    "distill": check_student,
    "prune-channels": check_channels,
}


@pytest.mark.parametrize("recipe", training_recipes())
def test_a_recipe_that_trains(recipe: str, tmp_path: Path, repository: Path) -> None:
    out = tmp_path / "out"
    outcome = edgekit(
        *("compress", "zoo:digits-cnn", "--recipe", recipe, "--target", "cpu-litert"),
        *("--data", "digits", "--out", out),
    )
    assert (outcome.code, outcome.err) in ((0, ""), (1, "")), outcome
    report = json.loads((out / "report.json").read_text())
    schema = json.loads((repository / "docs/report.schema.json").read_text())
    jsonschema.validate(report, schema)
    assert report["status"] == {0: "pass", 1: "fail"}[outcome.code]
    check(report, out, recipe)


@pytest.mark.skipif(
    not os.environ.get("EDGEKIT_TEST_ALL"),
    reason="a minute each: set EDGEKIT_TEST_ALL=1 (digits-cnn goes through every recipe above)",
)
@pytest.mark.parametrize("recipe", ["slim", "qat-int8"])
def test_a_depthwise_net_with_batchnorm(recipe: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = edgekit(
        *("compress", "zoo:ds-cnn", "--recipe", recipe, "--target", "cpu-litert"),
        *("--data", "digits", "--out", out),
    )
    assert (outcome.code, outcome.err) in ((0, ""), (1, "")), outcome
    check(json.loads((out / "report.json").read_text()), out, recipe)


def check(report: dict[str, Any], out: Path, recipe: str) -> None:
    check_accuracy(report)
    check_size(report)
    check_curves(report, (out / "report.html").read_text())
    techniques = [step for step in report["steps"] if step["kind"] == "technique"]
    assert [step["technique"] for step in techniques] == [
        step.technique for step in load_recipe(recipe).steps
    ]
    model = opened(out / "model.tflite")
    for step in techniques:
        assert any(note["is_evidence"] for note in step["notes"]), step["technique"]
        if step["technique"] in CHECKS:
            CHECKS[step["technique"]](step, report, model)


def check_accuracy(report: dict[str, Any]) -> None:
    before, after = (report[role]["accuracy"]["value"] for role in ("reference", "result"))
    assert before > 0.95
    verdicts = {verdict["metric"]: verdict for verdict in report["verdicts"]}
    drop, significant = verdicts.get("max_accuracy_drop"), verdicts.get("min_p_worse")
    assert drop or significant, "every recipe that trains promises something of the accuracy"
    if drop:
        assert after >= before - MOST_DROP
        assert drop["status"] == ("pass" if before - after <= drop["bound"] else "fail")
    else:
        # As small as can be: too small for a net that has no weight too many, and it says so.
        assert after > 0.5
        assert significant["status"] == (
            "pass" if significant["value"] >= significant["bound"] else "fail"
        )


def check_size(report: dict[str, Any]) -> None:
    """What is promised of shipped bytes is kept even by a net whose file is a quarter overhead."""
    for verdict in report["verdicts"]:
        if verdict["metric"] == "max_compressed_ratio":
            assert verdict["status"] == "pass", verdict


def check_curves(report: dict[str, Any], page: str) -> None:
    """Each step that trains has its curves, in the page too; no other step has any."""
    for step in report["steps"]:
        assert bool(step["curves"]) == ("epochs" in step["params"]), step["technique"]
        for curve in step["curves"]:
            assert 1 <= curve["best_epoch"] <= len(curve["epochs"])
            for epoch in curve["epochs"]:
                figures = [epoch[key] for key in ("loss", "metric", "select_loss", "select_metric")]
                assert all(value is not None and math.isfinite(value) for value in figures)
            assert curve["title"] in page
    assert page.count("<svg") >= sum(len(step["curves"]) > 0 for step in report["steps"])


def own_recipe(folder: Path, text: str) -> Path:
    (folder / "r.toml").write_text(text)
    return folder / "r.toml"


def run(tmp_path: Path, text: str, *more: object) -> tuple[dict[str, Any], Opened]:
    outcome = edgekit(
        *("compress", "zoo:digits-cnn", "--recipe", own_recipe(tmp_path, text)),
        *("--target", "null", "--data", "digits", "--out", tmp_path / "out", *more),
    )
    assert outcome.code == 0, outcome
    report = json.loads((tmp_path / "out/report.json").read_text())
    return report, opened(tmp_path / "out/model.tflite")


def test_two_of_four_and_a_skipped_layer(tmp_path: Path) -> None:
    report, model = run(
        tmp_path,
        'summary = "x"\n[[technique]]\nname = "prune"\nstructure = "2:4"\nepochs = 1\n'
        'skip = ["dense2"]\n',
    )
    by_size = {kernel.size: kernel for kernel in model.kernels}
    # The stored axis of inputs is the last one: of four in a row two are 0.
    for kernel in (by_size[4608], by_size[8192]):
        assert ((kernel.reshape(-1, 4) == 0).sum(axis=1) >= 2).all()
    assert (by_size[640] != 0).all()
    (step,) = (step for step in report["steps"] if step["technique"] == "prune")
    skipped = {note["item"]: note["reason"] for note in step["notes"] if note["what"] == "skipped"}
    assert "Dense 'dense2'" in skipped


def test_blocks_of_zeros(tmp_path: Path) -> None:
    _, model = run(
        tmp_path,
        'summary = "x"\n[[technique]]\nname = "prune"\nstructure = "block"\nsparsity = 0.5\n'
        "epochs = 1\nblock = [1, 4]\n",
    )
    (dense,) = (kernel for kernel in model.kernels if kernel.size == 8192)
    blocks = dense.T.reshape(128, 16, 4) == 0
    whole = blocks.all(axis=2)
    assert 0.495 <= whole.mean() <= 0.505
    assert (blocks.any(axis=2) == whole).all()


def test_a_quarter_of_the_channels_by_a_zoo_teacher(tmp_path: Path) -> None:
    """A student from the zoo learns from the source and a .tflite file together."""
    teacher = edgekit(
        *("compress", "zoo:digits-cnn", "--recipe", "float32", "--target", "null"),
        *("--data", "digits", "--out", tmp_path / "teacher"),
    )
    assert teacher.code == 0, teacher
    report, _ = run(
        tmp_path,
        'summary = "x"\n[[technique]]\nname = "distill"\nwidth = 0.25\nepochs = 2\n'
        f'teacher = ["source", "{tmp_path}/teacher/model.tflite"]\nfeatures = ["conv2:conv2"]\n',
    )
    assert report["result"]["parameters"] < report["reference"]["parameters"] / 8
    (step,) = (step for step in report["steps"] if step["technique"] == "distill")
    assert step["params"]["teacher"] == ["source", "model.tflite"]
    assert len(step["curves"]) == 2


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """A depthwise net whose BatchNorms make its channels' ranges 100 times apart."""
    import keras

    from edgekit.frameworks.keras import save_keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(32, 3, padding="same", use_bias=False, name="conv1")(image)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="norm1")(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.ReLU(name="relu2")(layers.BatchNormalization(name="norm2")(x))
    x = layers.Conv2D(48, 1, activation="relu", name="conv2")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, layers.Dense(10, name="scores")(x), name="uneven")
    for name in ("norm1", "norm2"):
        gamma, beta, mean, variance = model.get_layer(name).get_weights()
        gamma = np.geomspace(0.1, 10, gamma.size)[:: 1 if name == "norm1" else -1]
        model.get_layer(name).set_weights([gamma, beta + 0.1, mean + 0.05, variance * 0.5])
    save_keras(model, tmp_path / "uneven.keras")
    return tmp_path / "uneven.keras"


def test_a_net_is_made_ready_for_integers(uneven: Path, tmp_path: Path) -> None:
    """Random weights: what the integers lose is seen in the outputs of the shipped file."""
    import keras

    x = np.random.default_rng(0).uniform(0, 1, (50, 8, 8, 1)).astype(np.float32)
    wanted = keras.saving.load_model(uneven).predict(x, verbose=0)
    losses, notes = [], {}
    ready = ("fold-batchnorm", "equalize", "correct-bias")
    for number, techniques in enumerate(((), ready)):
        steps = "".join(f'[[technique]]\nname = "{name}"\n' for name in techniques)
        recipe = f'summary = "x"\n{steps}[[technique]]\nname = "quantize"\nscheme = "int8"\n'
        out = tmp_path / f"out{number}"
        outcome = edgekit(
            *("compress", uneven, "--recipe", own_recipe(tmp_path, recipe)),
            *("--target", "null", "--data", "digits", "--out", out),
        )
        assert outcome.code == 0, outcome
        assert opened(out / "model.tflite").dtypes == {"int8", "int32"}
        (made,) = run_file(out / "model.tflite", (x,))
        losses.append(np.sqrt(np.mean((made - wanted) ** 2)) / np.std(wanted))
        for step in json.loads((out / "report.json").read_text())["steps"]:
            notes[step["technique"]] = [(note["what"], note["item"]) for note in step["notes"]]
    assert losses[1] < losses[0] / 3
    assert notes["fold-batchnorm"] == [
        ("folded", "BatchNormalization"),
        ("proven", "outputs are unchanged"),
    ]
    assert [item for what, item in notes["equalize"] if what == "equalized"] == [
        "'conv1' and 'depthwise'",
        "'depthwise' and 'conv2'",
        "'conv2' and 'scores'",
    ]
    assert ("proven", "mean shift over 4 layers") in notes["correct-bias"]
    assert ("outputs with rounded weights", "the model") in notes["correct-bias"]

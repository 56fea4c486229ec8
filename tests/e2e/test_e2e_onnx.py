"""From an `.onnx` file to what runs on cpu-onnxruntime, as a user does it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import (
    answers,
    clear,
    cnn,
    images,
    save_model,
    tensor,
    token_model,
    tokens,
    value,
)
from support import Outcome, edgekit

CPU = ("--target", "cpu-onnxruntime")
_POOL = 300


@dataclass(frozen=True)
class Case:
    """A model and the data on which it is always right."""

    model: Path
    data: str

    def compress(self, recipe: object, out: Path, *more: object) -> tuple[Outcome, dict[str, Any]]:
        """Compresses, and returns what was said and what the report says."""
        data = ("--data", self.data)
        done = edgekit("compress", self.model, "--recipe", recipe, *CPU, *data, *more, "--out", out)
        report = out / "report.json"
        return done, json.loads(report.read_text()) if report.is_file() else {}


def write_data(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Half to learn from, half to judge by, under the names of the inputs."""
    ends = {"train": slice(_POOL), "test": slice(_POOL, None)}
    np.savez(
        path, **{f"{k}_{end}": v[rows] for end, rows in ends.items() for k, v in arrays.items()}
    )
    return f"npz:{path}"


@pytest.fixture(scope="module")
def image_case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("cnn")
    model, x = cnn(folder / "cnn.onnx"), images(800)
    (logits,) = answers(model, {"image": x})
    kept = clear(logits, 2 * _POOL)
    arrays = {"image": x[kept], "y": logits[kept].argmax(axis=1)}
    return Case(model, write_data(folder / "d.npz", arrays))


@pytest.fixture(scope="module")
def token_case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("tokens")
    model, x = token_model(folder / "tokens.onnx"), tokens(1200)
    classes = answers(model, x)[1]
    kept = clear(classes, 2 * _POOL)
    arrays = {name: held[kept] for name, held in x.items()} | {"y": classes[kept].argmax(axis=1)}
    return Case(model, write_data(folder / "t.npz", arrays))


@pytest.fixture(autouse=True)
def _short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency is measured as always, but for a fifth of a second: its figures are not judged.

    `bench` measures memory, and here it is left out.
    """
    from edgekit.core.measurement import Memory
    from edgekit.engine import bench, ladder, measure

    quick = partial(bench.compare_latency, seconds=0.2, processes=1)
    monkeypatch.setattr(measure, "compare_latency", quick)
    nothing = Memory("unmeasured", "not in this test")
    monkeypatch.setattr(measure, "measure_memory", lambda *_, **__: nothing)
    monkeypatch.setattr(ladder, "_SECONDS", 0.1)


def judged(report: Mapping[str, Any]) -> dict[str, str]:
    """The verdicts but for the one on latency, which no model this small says anything about."""
    return {
        item["metric"]: item["status"]
        for item in report["verdicts"]
        if item["metric"] != "max_latency_ratio"
    }


def kept_promises(report: Mapping[str, Any]) -> bool:
    return set(judged(report).values()) == {"pass"} and report["result"]["accuracy"]["value"] > 0.99


@pytest.mark.parametrize(
    ("recipe", "steps", "most"),
    [
        ("int8", ["simplify", "quantize"], 0.7),
        ("dynamic-int8", ["simplify", "quantize"], 0.5),
        ("float16", ["simplify", "quantize"], 0.6),
        ("float32", [], 1.0),
    ],
)
def test_a_recipe_on_a_cnn(
    recipe: str, steps: list[str], most: float, image_case: Case, tmp_path: Path, repository: Path
) -> None:
    done, report = image_case.compress(recipe, tmp_path / "out")
    assert "Traceback" not in done.err
    assert [step["technique"] for step in report["steps"]] == steps
    assert kept_promises(report), done.out
    assert report["result"]["size_bytes"] == (tmp_path / "out/model.onnx").stat().st_size
    assert report["result"]["size_bytes"] <= most * report["reference"]["size_bytes"]
    assert report["reference"]["accuracy"] == report["reference"]["accuracy"] | {"value": 1.0}
    assert {op["where"] for op in report["result"]["placement"]["ops"]} == {"CPU"}
    jsonschema.validate(report, json.loads((repository / "docs/report.schema.json").read_text()))
    assert edgekit("inspect", tmp_path / "out/model.onnx").code == 0, "onnx's checker refuses it"
    made = onnx.load(str(tmp_path / "out/model.onnx"))
    kinds = {node.op_type for node in made.graph.node}
    assert ("Constant" in kinds, "BatchNormalization" in kinds) == (not steps, not steps)
    assert made.opset_import[0].version == (17 if steps else 12)


def test_the_ladder_climbs_where_int8_breaks_the_promise(tmp_path: Path) -> None:
    """One channel of ten thousand leaves int8 no steps for the others, which decide."""
    model, x = cnn(tmp_path / "hard.onnx", offset=1e4), images(2 * _POOL)
    (logits,) = answers(model, {"image": x})
    data = write_data(tmp_path / "d.npz", {"image": x, "y": logits.argmax(axis=1)})
    done, report = Case(model, data).compress("int8-safe", tmp_path / "out")
    assert done.code == 0, done
    assert kept_promises(report)
    climb = report["ladder"]
    rungs = {rung["label"]: rung for rung in climb["rungs"]}
    assert climb["step"] == "quantize"
    assert climb["samples"] == report["data"]["splits"]["select"]
    assert (rungs["all ops"]["status"], rungs[climb["taken"]]["status"]) == ("breaks", "holds")
    assert rungs["all ops"]["drop"] > 0.01
    assert rungs[climb["taken"]]["size_ratio"] < 0.8
    assert [rung["status"] for rung in rungs.values()][-1] == "not tried"
    assert all(rung["latency_ratio"] for rung in rungs.values() if rung["status"] == "breaks")


def test_the_first_rung_that_holds_is_taken(token_case: Case, tmp_path: Path) -> None:
    done, report = token_case.compress("int8-safe", tmp_path / "out", "--output", "classes")
    assert done.code == 0, done
    assert kept_promises(report)
    assert report["ladder"]["taken"] == "all ops"
    assert [rung["status"] for rung in report["ladder"]["rungs"]][:2] == ["holds", "not tried"]
    assert [spec["dtype"] for spec in report["result"]["inputs"]] == ["int64", "int64"]
    assert "--output classes" in report["command"]


def test_pruning_climbs_too(image_case: Case, tmp_path: Path) -> None:
    recipe = tmp_path / "pruned.toml"
    recipe.write_text(
        'summary = "pruned without training, then int8"\n'
        '[promise]\nmax_accuracy_drop = "1 pt"\n'
        '[[technique]]\nname = "prune"\nsparsity = 0.4\nladder = true\n'
        '[[technique]]\nname = "quantize"\nscheme = "dynamic-int8"\n'
    )
    done, report = image_case.compress(recipe, tmp_path / "out")
    steps = [step["technique"] for step in report["steps"]]
    assert steps == ["simplify", "prune", "quantize"], done
    assert kept_promises(report), done.out
    assert any(note["what"] == "proven sparsity" for note in report["evidence"])
    assert report["ladder"]["step"] == "prune"


def test_an_input_shape_that_is_open_in_the_file(image_case: Case, tmp_path: Path) -> None:
    model = cnn(tmp_path / "open.onnx", size=("H", "W"))
    case = Case(model, image_case.data)
    shape = ("--input", "image=1x1x12x12")
    done, report = case.compress("dynamic-int8", tmp_path / "out", *shape)
    assert done.code == 0, done
    assert report["result"]["inputs"][0]["shape"] == [1, 1, 12, 12]
    assert "--input image=1x1x12x12" in report["command"]
    assert kept_promises(report)


@pytest.mark.parametrize("recipe", ["float32", "dynamic-int8"])
def test_weights_in_another_file(
    recipe: str, image_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Untouched they go along, beside the model; a technique takes them into its file."""
    whole = onnx.load(str(image_case.model))
    (tmp_path / "in").mkdir()
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 100}
    onnx.save(whole, str(tmp_path / "in/m.onnx"), **options)
    monkeypatch.chdir(tmp_path / "in")
    done, report = Case(Path("m.onnx"), image_case.data).compress(recipe, tmp_path / "out")
    assert done.code == 0, done
    assert kept_promises(report)
    assert (tmp_path / "out/weights.bin").is_file() == (recipe == "float32")
    assert edgekit("inspect", tmp_path / "out/model.onnx").code == 0
    assert sorted(path.name for path in Path().iterdir()) == ["m.onnx", "weights.bin"]


def test_names_that_are_no_words(tmp_path: Path) -> None:
    """Exporters write slashes and colons, and nothing forbids the rest."""
    rng, hidden = np.random.default_rng(0), "a b/c[0]*?"
    nodes = [
        helper.make_node("Gemm", ["in:0 [x]", "w 1"], [hidden], "/layer [0]/Gemm *?"),
        helper.make_node("Relu", [hidden], ["r/é"], "relu ü"),
        helper.make_node("MatMul", ["r/é", "w]2["], ["out é"], "mm\ttab\nline"),
    ]
    weights = [tensor("w 1", rng.normal(size=(64, 32))), tensor("w]2[", rng.normal(size=(32, 8)))]
    ends = [value("in:0 [x]", ["N", 64])], [value("out é", ["N", 8])]
    model = save_model(tmp_path / "m [1] é.onnx", helper.make_graph(nodes, "g", *ends, weights))
    x = rng.normal(size=(1200, 64)).astype(np.float32)
    (out,) = answers(model, {"in:0 [x]": x})
    kept = clear(out, 2 * _POOL)
    data = write_data(tmp_path / "d.npz", {"x": x[kept], "y": out[kept].argmax(axis=1)})
    shape = ("--input", "in:0 [x]=1x64")
    done, report = Case(model, data).compress("int8-safe", tmp_path / "out", *shape)
    assert done.code == 0, done
    assert kept_promises(report)
    assert report["result"]["inputs"][0]["name"] == "in:0 [x]"
    assert "fix with `--input 'in:0 [x]'=1x64`" in edgekit("inspect", model).out


def test_a_model_with_subgraphs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def branch(name: str) -> onnx.GraphProto:
        node = helper.make_node("MatMul", ["x", f"w_{name}"], [name], f"matmul_{name}")
        weights = [tensor(f"w_{name}", rng.normal(size=(64, 8)))]
        return helper.make_graph([node], name, [], [value(name, ["N", 8])], weights)

    branches = {"then_branch": branch("warm"), "else_branch": branch("cold")}
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], "sum", keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["is_warm"], "ask"),
        helper.make_node("If", ["is_warm"], ["y"], "choose", **branches),
    ]
    ends = [value("x", ["N", 64])], [value("y", ["N", 8])]
    graph = helper.make_graph(nodes, "g", *ends, [tensor("zero", 0.0)])
    model = save_model(tmp_path / "if.onnx", graph)
    assert "2 ops in the graphs inside 1 If" in edgekit("inspect", model).out
    done = edgekit(
        *("compress", model, "--recipe", "dynamic-int8", *CPU, "--out", tmp_path / "out", "--json")
    )
    report = json.loads(done.out)
    assert done.code == 3, "without data no accuracy is measured, and the recipe promises one"
    assert report["result"]["size_bytes"] < 0.6 * report["reference"]["size_bytes"]
    made = onnx.load(str(tmp_path / "out/model.onnx"))
    assert "If" in {node.op_type for node in made.graph.node}


def test_ort_and_onnx_side_by_side(image_case: Case, tmp_path: Path) -> None:
    out, data = tmp_path / "m.ort", ("--data", image_case.data)
    done = edgekit("convert", image_case.model, "--to", "ort", *data, "--out", out)
    assert done.code == 0, done
    assert "proven equal" in done.out
    done = edgekit("compare", out, image_case.model, *data, "--json")
    assert done.code == 0, done
    report = json.loads(done.out)
    assert [report[side]["format"] for side in ("reference", "result")] == ["ort", "onnx"]
    assert report["result"]["agreement"] == 1


def test_inspect_and_explain(tmp_path: Path) -> None:
    model = cnn(tmp_path / "m.onnx", size=("H", "W"))
    said = edgekit("inspect", model).out
    assert "opset 12, IR version 8" in said
    assert "input 'image': axes 0, 2, 3 are open (N, H, W); fix with `--input" in said
    found = json.loads(edgekit("inspect", model, "--json").out)
    assert sum(found["bytes_by"].values()) == found["size_bytes"] == model.stat().st_size
    said = edgekit("explain", model, "--recipe", "int8-safe", *CPU).out
    assert "1. simplify (onnx -> onnx)\n" in said
    assert "2. quantize (onnx -> onnx)   needs data to calibrate and select on\n" in said
    assert "rung 1: all ops" in said
    assert "rung 8: float16" in said


def test_the_profile_says_which_op_takes_the_time(image_case: Case) -> None:
    done = edgekit("bench", image_case.model, "--profile", "--json")
    assert done.code == 3, "memory is not measured in these tests"
    profile = json.loads(done.out)["profile"]
    assert {"Conv", "Gemm"} <= {op["kind"] for op in profile}
    times = [op["total_ns"] for op in profile]
    assert times == sorted(times, reverse=True)


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    rng, nodes, weights, last = np.random.default_rng(0), [], [], "x"
    for number in range(24):
        name = f"conv{number}"
        nodes.append(helper.make_node("Conv", [last, f"w{number}"], [name], name, pads=[1] * 4))
        weights.append(tensor(f"w{number}", rng.normal(size=(64, 64, 3, 3)) / 24))
        last = name
    ends = [value("x", ["N", 64, 32, 32])], [value(last, ["N", 64, 32, 32])]
    model = save_model(tmp_path / "slow.onnx", helper.make_graph(nodes, "g", *ends, weights))
    np.savez(tmp_path / "d.npz", x=rng.random((60, 64, 32, 32), dtype=np.float32))
    folders = [tmp_path / name for name in ("here", "cache")]
    folders[0].mkdir()
    hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", f"{hear}; from edgekit.__main__ import main; main()"),
            *("compress", model, "--recipe", "int8", *CPU, "--data", f"npz:{tmp_path}/d.npz"),
            *("--out", tmp_path / "out"),
        ],
        cwd=folders[0],
        env={**os.environ, "EDGEKIT_CACHE": str(folders[1])},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(folders[1].glob("steps/*/model.onnx")) and time.monotonic() < deadline:
        time.sleep(0.02)  # Once the model is simplified, it is quantized.
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "error: interrupted; nothing half-written was left"
    assert "Traceback" not in err
    assert list(folders[0].iterdir()) == []
    assert list((folders[1] / "scratch").iterdir()) == []
    assert not (tmp_path / "out").exists()

"""A bundle's folder as `edgekit bundle` unpacks one, written by hand for tests of `run.py`."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgekit import on_device

__all__ = ["RUN", "bundle", "command", "edit", "int8_model", "runner", "seal", "stored"]

RUN = Path(on_device.__file__).with_name("run.py")
_DATA = Path(__file__).resolve().parent / "data"
_KERNELS = ("reference", "builtin", "xnnpack", "onnxruntime", "delegate")
_CLASSES = {"kind": "classes", "activation": "none", "top_k": 3, "threshold": None}


@functools.cache
def runner() -> ModuleType:
    """`run.py` as a program of a user's imports it: by itself, outside the package."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("run", RUN)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def int8_model() -> bytes:
    """tests/data/tiny_float.tflite, quantized."""
    from fake_work import FakeWork, artifact

    from edgekit.techniques.quantize import Parameters, tflite

    with tempfile.TemporaryDirectory() as folder:
        work = FakeWork(Path(folder), artifact(_DATA / "tiny_float.tflite"))
        tflite.apply(Parameters(scheme="int8"), work.source, work)
        data: bytes = work.output.read_bytes()
    return data


def stored(values: Any, spec: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Values in the dtype of a tensor, by the formula and nothing clever."""
    if spec["scale"] is None:
        return np.asarray(values, spec["dtype"])
    bounds = np.iinfo(spec["dtype"])
    found: np.ndarray[Any, Any] = (
        np.rint(np.float32(values) / np.float32(spec["scale"])) + spec["zero_point"]
    )
    return np.asarray(found.clip(bounds.min, bounds.max), spec["dtype"])


def bundle(
    folder: Path,
    model: bytes | None = None,
    *,
    suffix: str = "tflite",
    target: Mapping[str, Any] | None = None,
    input: Mapping[str, Any] | None = None,
    output: Mapping[str, Any] | None = None,
    scaling: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
    kernels: str = "reference",
) -> Path:
    """Writes a bundle of tiny_float.tflite, or of `model`; its golden outputs are its own."""
    (folder / "golden").mkdir(parents=True)
    path = folder / f"model.{suffix}"
    path.write_bytes((_DATA / "tiny_float.tflite").read_bytes() if model is None else model)
    shutil.copy(RUN, folder / "run.py")
    (folder / "requirements.txt").write_text("numpy\n")
    opened = runner().Model(str(path), kernels=kernels if suffix == "tflite" else "")
    rng = np.random.default_rng(1)
    inputs = [
        stored(rng.random([4, *(n or 1 for n in spec["shape"][1:])]), spec)
        for spec in opened.inputs
    ]
    sides = {"input": inputs, "output": opened.session.run(inputs)}
    names = {side: [f"golden/{side}_{i}.npy" for i in range(len(a))] for side, a in sides.items()}
    for side, arrays in sides.items():
        for name, array in zip(names[side], arrays, strict=True):
            np.save(folder / name, array)
    if labels:
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    front_end = {
        "input": input or {"kind": "array", "is_assumed": False},
        "scaling": scaling or {"scale": [1.0], "offset": [0.0]},
        "output": output or _CLASSES,
    }
    (folder / "preprocess.json").write_text(json.dumps(front_end))
    tolerance = {"lsb": 2, "relative": 1e-4}
    manifest = {
        "schema": "edgekit-bundle/1",
        "name": "tiny",
        "made_by": "edgekit 0",
        "model": {"file": path.name, "format": suffix, "parts": []},
        "inputs": opened.inputs,
        "outputs": opened.outputs,
        "target": {**_target(suffix), **(target or {})},
        "boards": [{"name": "any", "python": "3.11", "requires": ["ai-edge-litert==2.3.0"]}],
        "preprocess": "preprocess.json",
        "labels": "labels.txt" if labels else None,
        "golden": {
            "count": 4,
            "inputs": names["input"],
            "outputs": names["output"],
            "made_with": "ai-edge-litert 2.3.0 on x86_64",
            "tolerance": dict.fromkeys(_KERNELS, tolerance),
        },
        "metrics": None,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return seal(folder)


def _target(suffix: str) -> dict[str, Any]:
    """The target of a bundle, of what this machine has."""
    is_tflite = suffix == "tflite"
    return {
        "name": "cpu",
        "machines": [],
        "threads": 1,
        "options": {"kernels": "xnnpack"} if is_tflite else {"optimization": "all"},
        "runtimes": ["ai_edge_litert"] if is_tflite else ["onnxruntime"],
        "delegates": [],
        "min_delegated": None,
    }


def seal(folder: Path) -> Path:
    """Writes SHA256SUMS for what is in the folder now."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
        if path.name != "SHA256SUMS" and "__pycache__" not in path.parts
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder


def edit(folder: Path, name: str = "manifest.json", **changes: Any) -> Path:
    """Changes a JSON file of a bundle: `target__machines=[...]` is a key in a table."""
    table = json.loads((folder / name).read_text())
    for words, value in changes.items():
        *outer, last = words.split("__")
        inner = table
        for word in outer:
            inner = inner[word]
        inner[last] = value
    (folder / name).write_text(json.dumps(table))
    return seal(folder)


def command(
    folder: Path, *words: object, python: str = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the bundle's own `run.py`, as a user does."""
    import os

    return subprocess.run(
        [python, "-B", str(folder / "run.py"), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )
